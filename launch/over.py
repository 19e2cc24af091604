"""A space as it is typed: KEY=SPEC."""

from research.config import Experiment, space
from research.config.settings import convert, typed
from research.errors import UsageError

EXPECTED = "expected a,b,c or LOW..HIGH, log:LOW..HIGH, int:LOW..HIGH[:STEP]"


def parse_space(experiment: Experiment, texts: list[str]) -> space.Space:
    """The product of ['optimizer.rate.peak=log:1e-4..1e-2', 'optimizer.name=adamw,muon', …]."""
    parts = [parse_axis(experiment, text) for text in texts]
    return parts[0] if len(parts) == 1 else space.product(*parts)


def parse_axis(experiment: Experiment, text: str) -> space.Axis:
    name, equals, spec = text.partition("=")
    name, spec = name.strip(), spec.strip()
    if not equals or not spec:
        raise UsageError(f"--over {text}: expected KEY=SPEC: {EXPECTED.removeprefix('expected ')}")
    if ".." not in spec:
        return space.grid(name, *(typed(experiment, name, value.strip()) for value in spec.split(",")))
    kind, colon, ends = spec.rpartition(":") if spec.count(":") == 1 else spec.partition(":")
    if not colon:
        kind, ends = "uniform", spec
    ends, _, step = ends.partition(":")
    low, _, high = ends.partition("..")
    number = int if kind in ("int", "logint") else float
    low, high = (convert(end.strip(), number, name) for end in (low, high))
    typed(experiment, name, low)  # is there such a setting, and does it take numbers?
    if step and kind != "int":
        raise UsageError(f"--over {text}: a step goes with int; {EXPECTED}")
    match kind:
        case "uniform":
            return space.uniform(name, low, high)
        case "log":
            return space.log_uniform(name, low, high)
        case "int":
            return space.integer(name, low, high, convert(step or "1", int, name))
        case "logint":
            return space.integer(name, low, high, log=True)
        case _:
            raise UsageError(f"--over {text}: {kind}: no such kind of range; {EXPECTED}")
