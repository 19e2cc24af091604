"""An experiment: all sections of a declaration."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Any, get_type_hints

from research.config import scaling
from research.config.sections.data import Data, Task
from research.config.sections.model import Model
from research.config.sections.optimizer import Objective, Optimizer
from research.config.sections.run import Parallel, Run, Start
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All settings that determine a run's results. Equal experiments train to equal bits.

    `research.objectives.check` has the rules between sections that depend on the objective.
    """

    name: str = ""  # as registered
    model: Model
    data: Data
    objective: Objective = field(default_factory=Objective)
    task: Task = field(default_factory=Task)
    optimizer: Optimizer
    run: Run
    parallel: Parallel = field(default_factory=Parallel)
    start: Start = field(default_factory=Start)

    def __post_init__(self):
        _refuse_subclasses(self, Experiment)
        if self.data.length > self.model.context:
            raise UsageError(
                f"data.length={self.data.length}: expected at most model.context={self.model.context}"
            )
        if self.run.deterministic and self.parallel.compile == "pmap":
            raise UsageError(
                "run.deterministic=true: JAX's pmap takes no compiler options; "
                "expected parallel.compile=jit or sharded"
            )
        scaling.check(self.model, self.optimizer.name)
        later = self.data.later
        if later.step and later.length > self.model.context:
            raise UsageError(
                f"data.later.length={later.length}: expected at most model.context={self.model.context}"
            )
        if later.step % self.run.steps_per_call:
            raise UsageError(
                f"data.later.step={later.step}: expected a multiple of "
                f"run.steps_per_call={self.run.steps_per_call}, as all steps of a call share a shape"
            )

    def __repr__(self) -> str:
        """A line for each section, without settings that have their defaults."""
        lines = [f"    {setting},\n" for setting in _changed(self)]
        return f"Experiment(\n{''.join(lines)})"

    def at_step(self, step: int) -> "Experiment":
        """This experiment with the data section that applies at `step`."""
        return replace(self, data=self.data.at_step(step))

    def tokens(self, steps: int) -> int:
        """Tokens in the first `steps` batches, padding included."""
        data, later = self.data, self.data.later
        longer = max(steps - later.step, 0) if later.step else 0
        return self.task.sequences * data.batch * ((steps - longer) * data.length + longer * later.length)


def _changed(section: Any) -> Iterator[str]:
    """name=value of each field that does not have its default, as code."""
    for each in fields(section):
        value = getattr(section, each.name)
        if value != (each.default if each.default_factory is MISSING else each.default_factory()):
            inner = ", ".join(_changed(value)) if is_dataclass(value) else None
            yield (
                f"{each.name}={value!r}" if inner is None else f"{each.name}={type(value).__name__}({inner})"
            )


def _refuse_subclasses(section: Any, declared: type, name: str = "") -> None:
    """Raises for a subclass of a section: a record holds only the declared fields and could not be read."""
    given = type(section)
    if given is not declared and issubclass(given, declared):
        known = {each.name for each in fields(declared)}
        more = ", ".join(each.name for each in fields(section) if each.name not in known)
        raise UsageError(
            f"{name or 'experiment'}={given.__name__}(…): a record cannot keep {more or 'this class'}; "
            f"expected {declared.__name__}, with settings of your own in the class that you register with a "
            "name: OPTIMIZERS.register('mine', settings=Mine)"
        )
    for inner, hint in _sections(declared):
        _refuse_subclasses(getattr(section, inner), hint, f"{name}.{inner}" if name else inner)


@cache
def _sections(declared: type) -> list[tuple[str, type]]:
    hints = get_type_hints(declared)
    return [(each.name, hints[each.name]) for each in fields(declared) if is_dataclass(hints[each.name])]
