"""An experiment, declared: all of its sections."""

from dataclasses import dataclass, field

from research.config.data import Data
from research.config.model import Model
from research.config.optimizer import Objective, Optimizer
from research.config.run import Parallel, Run, Start
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that decides a run's numbers. Two equal experiments train to equal bits."""

    name: str = ""  # as registered
    model: Model
    data: Data
    objective: Objective = field(default_factory=Objective)
    optimizer: Optimizer
    run: Run
    parallel: Parallel = field(default_factory=Parallel)
    start: Start = field(default_factory=Start)

    def __post_init__(self):
        if self.data.length > self.model.context:
            raise UsageError(
                f"data.length={self.data.length}: expected at most model.context={self.model.context}"
            )
        if self.optimizer.name == "sophia" and self.parallel.compile == "pmap":
            raise UsageError(
                "optimizer.name=sophia: its curvature is not added up under pmap; expected sharded"
            )
        if (self.objective.name == "masked_token") != (self.model.family == "bert"):
            raise UsageError(
                f"objective.name={self.objective.name}: not for model.family={self.model.family}; "
                "bert goes with masked_token, the others with next_token"
            )
