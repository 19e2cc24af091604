"""Declaration of a sweep: one experiment and the settings that vary."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from research.config.checks import choices, positive
from research.config.experiment import Experiment
from research.config.space import Space, exhaustive, names, points
from research.config.target import Direction, direction_of
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A base experiment, its search space, the metric, and the budget.

    A trial is a run of `base` for `base.run.steps` with a point of `space` and a seed; a non-finite loss
    fails it. A pruner checks every evaluation (`base.run.evaluate_every`).
    """

    name: str = ""  # as registered
    base: Experiment
    space: Space
    metric: str = "loss"  # validation metric; a trial's value is that of its last row
    direction: Literal["auto", "minimize", "maximize"] = "auto"  # auto: by the metric's name
    trials: int | None = None  # points to try; None: all, if the space has only points
    seeds: int = 1  # trials per point, with run.seed, run.seed + 1, …
    hours: float | None = None  # total of all trials, after which no other begins
    sampler: Literal["auto", "grid", "random", "tpe", "cmaes", "qmc"] = (
        "auto"  # auto: grid of grids, else tpe
    )
    pruner: Literal["none", "median", "asha", "hyperband"] = "none"
    seed: int = 0  # of the sampler
    together: int = 1  # trials that a worker trains in one program, if they differ only in numbers

    def __post_init__(self):
        choices("sweep", self)
        for name in ("trials", "seeds", "hours", "together"):
            if getattr(self, name) is not None:
                positive("sweep", self, name)
        if self.trials is None and self.chosen_sampler != "grid":
            raise UsageError(f"trials: expected a number: the sampler {self.chosen_sampler} never ends")
        if (
            self.chosen_sampler == "grid"
            and self.trials is not None
            and self.trials > len(points(self.space))
        ):
            raise UsageError(f"sweep.trials={self.trials}: the grid has {len(points(self.space))} points")
        if self.seeds > 1 and "run.seed" in names(self.space):
            raise UsageError(
                f"sweep.seeds={self.seeds}: the space sets run.seed too; expected one of the two"
            )
        run = self.base.run
        if self.pruner != "none" and not 0 < run.evaluate_every < run.steps:
            raise UsageError(
                f"run.evaluate_every={run.evaluate_every}: {self.pruner} prunes at evaluations; "
                f"expected one before the last of run.steps={run.steps}"
            )

    @property
    def chosen_sampler(self) -> str:
        if self.sampler != "auto":
            return self.sampler
        return "grid" if exhaustive(self.space) else "tpe"

    @property
    def chosen_direction(self) -> Direction:
        """The declared direction, or the metric's. Raises UsageError for `auto` and an unknown metric."""
        if self.direction != "auto":
            return self.direction
        if (known := direction_of(self.metric)) is None:
            raise UsageError(f"--metric {self.metric}: expected --direction minimize or maximize beside it")
        return known

    @property
    def points(self) -> int:
        """Total number of points to try."""
        return len(points(self.space)) if self.trials is None else self.trials

    @property
    def budget(self) -> int:
        """Total number of trials: every point with every seed."""
        return self.points * self.seeds


SETTINGS = tuple(f.name for f in dataclasses.fields(Sweep) if f.name not in ("name", "base", "space"))
