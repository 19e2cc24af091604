"""The state with which a run starts or continues, on its devices."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from research import weights
from research.config import Experiment
from research.config.hyperparameters import SEED, split
from research.config.sections.freezing import trains
from research.devices import xla
from research.errors import UsageError
from research.optimizers.trained import count_trained
from research.runs import record
from research.runs.checkpoints.store import restore
from research.runs.state import State, initial_model, initial_state
from research.training.shared_program import shared_program
from research.training.teacher import with_teacher
from research.weights.layout import TaskHead


def first_state(
    experiment: Experiment,
    abstract: State,
    layout: State,
    checkpoint: Path | None,
    teacher: Any,
    report: Callable[[str], None],
) -> State:
    """The state from `checkpoint`, else from `start.weights`, else drawn from the seed; on the devices.

    A run that has lost all checkpoints therefore starts over as it did at first.
    """
    if checkpoint is not None:
        state = restored(experiment, abstract, layout, checkpoint)
    else:
        state = drawn(experiment, layout, load_start_weights(experiment, report))
    return with_teacher(state, layout, teacher)


def restored(experiment: Experiment, abstract: State, layout: State, checkpoint: Path) -> State:
    """Restores `checkpoint`, with the hyperparameters that the experiment declares now, without a teacher.

    Raises UsageError for a directory that was renamed, whose steps would get other batches and rates.
    """
    state = restore(checkpoint, abstract.saved(), layout.saved())
    if int(state.step) != int(checkpoint.name):
        raise UsageError(f"{checkpoint}: holds step {state.step}; its directory was renamed or copied")
    if experiment.run.hyperparameters == "constants":
        return state
    return state.replace(hyperparameters=shared_program(experiment).place(split(experiment)[1]))


def drawn(experiment: Experiment, layout: State, model: Any = None) -> State:
    """The state before the first step, with `model` or parameters drawn from the seed; without a teacher."""
    if experiment.run.hyperparameters == "inputs":
        return shared_program(experiment).initialize(model, split(experiment)[1])
    shardings = replace(layout, teacher=None)
    return xla.jit(partial(initial_state, experiment), out_shardings=shardings)(model)


def load_start_weights(experiment: Experiment, report: Callable[[str], None]) -> Any:
    """Loads `start.weights` into a model and reports the arrays it used; None without start weights."""
    if experiment.start.weights is None:
        return None
    if experiment.run.hyperparameters == "inputs":
        model = shared_program(experiment).draw(split(experiment)[1][SEED])
    else:
        model = xla.jit(partial(initial_model, experiment.model, experiment.run.seed))()
    head = TaskHead(experiment.objective.name, experiment.task.labels)
    model, found = weights.start(model, experiment.start.weights, head, experiment.start.blocks)
    report(str(found))
    freeze = experiment.optimizer.freeze
    if random := [name for name in found.missing if not trains(freeze, name, experiment.model)]:
        report(
            f"optimizer.freeze={freeze}: freezes random initial values, since the weights do not have "
            + ", ".join(random)
        )
    return model


@contextmanager
def advice_on_freezing(directory: Path, experiment: Experiment) -> Iterator[None]:
    """Explains a UsageError about the state of a run that trained other parameters."""
    try:
        yield
    except UsageError as error:
        if not record.differs(directory, experiment, "optimizer.freeze"):
            raise
        origin = record.read(directory).get("branch")  # a refused branch is removed
        run = directory if origin is None else f"{origin['run']}:{origin['step']}"
        raise UsageError(
            f"{directory}: optimizer.freeze={experiment.optimizer.freeze}: the run trained other "
            f"parameters; expected start.weights={run} and another --dir"
        ) from error


def describe_trained(experiment: Experiment, model: Any) -> str:
    """The number of parameters that train, of the model's arrays or shapes."""
    freeze = experiment.optimizer.freeze
    total = sum(leaf.size for leaf in jax.tree.leaves(model))
    count = count_trained(freeze, model, experiment.model)
    return f"training {count:,} of {total:,} parameters: optimizer.freeze={freeze}"
