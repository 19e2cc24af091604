"""The parameters of one of our own runs, at a checkpoint or averaged over some: those that it evaluates."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from research.config import Experiment
from research.errors import UsageError
from research.models.parameters import by_path, refill
from research.objectives import objective_of
from research.optimizers.optimizer import averages_iterates
from research.runs.checkpoints import read_arrays
from research.runs.integrity import find_corruption, steps
from research.runs.record import experiment_of
from research.runs.state import State, evaluation_params, initial_state
from research.weights import tokenizer_files
from research.weights.layout import Answers, Weights


def read(directory: Path, step: int | None = None) -> Weights:
    """At `step`, or at the newest. Raises UsageError where there is no such checkpoint, or a damaged one."""
    experiment = experiment_of(directory)
    model = evaluation_params(_restored(directory, experiment, step))
    arrays = {path: np.asarray(array) for path, array in by_path(model).items()}
    answers = None
    if objective_of(experiment.objective).supervised:
        answers = Answers(experiment.objective.name, experiment.task.labels)
    return Weights(experiment.model, arrays, {}, tokenizer_files.read(directory), answers)


def average(directory: Path, last: int | None) -> tuple[Weights, list[int]]:
    """The mean of what the `last` checkpoints evaluate (all that are kept, if None), and their steps.

    Izmailov et al. (2018). Raises UsageError for fewer than two, or more than there are.
    """
    if last is not None and last < 2:
        raise UsageError(f"--last {last}: expected 2 or more")
    experiment_of(directory)  # refuses what is no run
    kept = steps(directory / "checkpoints")
    if len(kept) < (last or 2):
        raise UsageError(
            f"{directory}: expected {last or 2} checkpoints, found {', '.join(map(str, kept)) or 'none'}; "
            "run.keep and run.keep_every say how many stay"
        )
    kept = kept[-last:] if last else kept
    newest = read(directory, kept[-1])
    sums = {name: array.astype(np.float64) for name, array in newest.arrays.items()}
    for step in kept[:-1]:
        for name, array in read(directory, step).arrays.items():
            sums[name] += array
    means = {name: (total / len(kept)).astype(newest.arrays[name].dtype) for name, total in sums.items()}
    return newest._replace(arrays=means), kept


def _restored(directory: Path, experiment: Experiment, step: int | None) -> State:
    """What `evaluation_params` needs of a checkpoint, the rest as shapes."""
    kept = steps(directory / "checkpoints")
    if not kept:
        raise UsageError(f"{directory}: a run without a checkpoint; train it first")
    step = kept[-1] if step is None else step
    if step not in kept:
        raise UsageError(f"{directory}:{step}: no such checkpoint; there are {', '.join(map(str, kept))}")
    checkpoint = directory.absolute() / "checkpoints" / str(step)
    others = "".join(f", {directory}:{other} is there" for other in reversed(kept) if other != step)
    if (wrong := find_corruption(checkpoint)) is not None:
        raise UsageError(f"{checkpoint}: cannot be read, it is damaged: {wrong}{others}")
    state = jax.eval_shape(partial(initial_state, experiment))
    leaves = by_path(state)
    needed = [name for name in leaves if name.startswith(_needed(state))]
    return refill(state, leaves | read_arrays(checkpoint, needed))


def _needed(state: State) -> tuple[str, ...]:
    """The parts of a state that `evaluation_params` needs: the optimizer's state is twice the parameters."""
    if state.ema_params is not None:
        return ("ema_params/",)
    return ("model/", "opt_state/") if averages_iterates(state.opt_state) else ("model/",)
