"""An experiment, declared: all of its sections."""

from dataclasses import dataclass, field, replace

from research.config.data import Data, Later
from research.config.model import Model
from research.config.optimizer import Objective, Optimizer
from research.config.run import Parallel, Run, Start
from research.config.task import LABELLED, Task
from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that decides a run's numbers. Two equal experiments train to equal bits."""

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
        if self.data.length > self.model.context:
            raise UsageError(
                f"data.length={self.data.length}: expected at most model.context={self.model.context}"
            )
        later = self.data.later
        if later.step and later.length > self.model.context:
            raise UsageError(
                f"data.later.length={later.length}: expected at most model.context={self.model.context}"
            )
        if later.step % self.run.steps_per_call:
            raise UsageError(
                f"data.later.step={later.step}: expected a multiple of "
                f"run.steps_per_call={self.run.steps_per_call}, whose steps have one shape"
            )
        if self.data.attend == "document" and self.objective.name != "next_token":
            raise UsageError("data.attend=document: for objective.name=next_token; expected window")
        if self.labelled:
            self._check_task()
        elif (self.objective.name == "masked_token") != (self.model.family == "bert"):
            raise UsageError(
                f"objective.name={self.objective.name}: not for model.family={self.model.family}; "
                "bert goes with masked_token, the others with next_token"
            )
        elif self.model.head != "pretraining":
            raise UsageError(
                f"model.head={self.model.head}: objective.name={self.objective.name} needs pretraining"
            )

    def _check_task(self) -> None:
        name, task, model = self.objective.name, self.task, self.model
        task.check(name)
        head = "tokens" if name in ("spans", "tags") else "sequence"
        if (model.head, model.outputs) != (head, task.outputs(name)):
            raise UsageError(
                f"model.head={model.head}, model.outputs={model.outputs}: objective.name={name} with its "
                f"{len(task.labels)} task.labels needs {head}, {task.outputs(name)}"
            )
        if head == "tokens" and model.family != "bert":
            raise UsageError(f"objective.name={name}: needs model.family=bert, which sees both ways")
        if self.objective.auxiliary and model.family == "bert":
            raise UsageError("objective.auxiliary: a next-token loss, which a bert has none of; expected 0")
        if self.data.validation is None:
            raise UsageError("data.validation: expected a source, as data.source is one")
        if self.data.later.step:
            raise UsageError("data.later.step: of pre-training; expected 0")

    @property
    def labelled(self) -> bool:
        """Whether it learns from labels (and so has a task), not from running text."""
        return self.objective.name in LABELLED

    def at_step(self, step: int) -> "Experiment":
        """What holds for the batch of `step`: this, or after `data.later.step` with what changes there."""
        data, later = self.data, self.data.later
        if not later.step:
            return self
        if step >= later.step:
            masking = replace(data.masking, predictions=later.predictions)
            data = replace(data, length=later.length, masking=masking)
        return replace(self, data=replace(data, later=Later()))

    def tokens(self, steps: int) -> int:
        """In the first `steps` batches, padding too."""
        data, later = self.data, self.data.later
        longer = max(steps - later.step, 0) if later.step else 0
        return self.task.sequences * data.batch * ((steps - longer) * data.length + longer * later.length)
