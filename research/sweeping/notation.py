"""Spaces and points as text: `--over KEY=SPEC`, and a line of settings."""

from collections.abc import Mapping
from typing import Any

from research.config import Experiment, space
from research.config.settings import typed
from research.config.values import convert
from research.errors import UsageError

EXPECTED = "expected a,b,c or LOW..HIGH, log:LOW..HIGH, int:LOW..HIGH[:STEP]"
KINDS = {  # of ranges, by (logarithmic, integers)
    (False, False): "uniform",
    (True, False): "log",
    (False, True): "int",
    (True, True): "logint",
}


def parse_space(experiment: Experiment, texts: list[str]) -> space.Space:
    """The product of ['optimizer.rate.peak=log:1e-4..1e-2', 'optimizer.name=adamw,muon', …]."""
    parts = [parse_axis(experiment, text) for text in texts]
    return parts[0] if len(parts) == 1 else space.product(*parts)


def parse_axis(experiment: Experiment, text: str) -> space.Axis:
    """The axis of 'KEY=SPEC'. Raises UsageError for an unknown key and for a malformed specification."""
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
    typed(experiment, name, low)  # raises for an unknown setting, or one that takes no numbers
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


def format_space(node: space.Space) -> str:
    """A space in one line; an axis as `parse_axis` reads it."""
    match node:
        case space.Points(name, values):
            return f"{name}={','.join(map(str, values))}"
        case space.Range(name, low, high, log, step):
            by = f":{step}" if step not in (None, 1) else ""
            return f"{name}={KINDS[log, step is not None]}:{low:g}..{high:g}{by}"
        case space.Product(parts):
            texts = (f"({format_space(p)})" if isinstance(p, space.Chain) else format_space(p) for p in parts)
            return " × ".join(texts)
        case space.Zip(parts):
            return f"zip({', '.join(map(format_space, parts))})"
        case space.Chain(parts):
            return " | ".join(map(format_space, parts))


def format_settings(settings: Mapping[str, Any]) -> str:
    """'optimizer.rate.peak=0.003  model.width=64': a point in one line, numbers to four digits."""
    return "  ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in settings.items()
    )
