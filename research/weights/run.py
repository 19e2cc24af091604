"""Parameters of one of our runs: of one checkpoint, or averaged over several.

A checkpoint also holds the optimizer state; only the arrays behind the evaluation parameters are read.
"""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from research.config import Experiment, Model
from research.data.tokenizers import published
from research.errors import UsageError
from research.models.parameters import by_path, refill
from research.objectives import objective_of
from research.optimizers.optimizer import averages_iterates
from research.runs.checkpoints.integrity import steps
from research.runs.checkpoints.store import read_arrays
from research.runs.record import experiment_of
from research.runs.state import State, evaluation_params, initial_state
from research.runs.status import intact_checkpoint
from research.weights.layout import TaskHead, Weights


def read(directory: Path, step: int | None = None) -> Weights:
    """The evaluation parameters at `step`, or at the newest checkpoint.

    Raises UsageError if there is no such checkpoint, and for a corrupt one.
    """
    experiment = experiment_of(directory)
    shapes = jax.eval_shape(partial(initial_state, experiment))
    model = evaluation_params(experiment, _restore(shapes, directory, step))
    arrays = {path: np.asarray(array) for path, array in by_path(model).items()}
    return Weights(experiment.model, arrays, {}, published.beside(directory), _task_head(experiment))


def model(directory: Path) -> Model:
    """The model that a run declares."""
    return experiment_of(directory).model


def task_head(directory: Path, step: int | None = None) -> TaskHead | None:
    """The task head; None for a pre-training run. Raises as `read`, without reading arrays."""
    experiment = experiment_of(directory)
    intact_checkpoint(directory, step)
    return _task_head(experiment)


def average(directory: Path, last: int | None) -> tuple[Weights, list[int]]:
    """The mean of the evaluation parameters over the `last` checkpoints (None: all), and their steps.

    Izmailov et al. (2018). Raises UsageError for a `last` below two, and for too few checkpoints.
    """
    if last is not None and last < 2:
        raise UsageError(f"--last {last}: expected 2 or more")
    experiment_of(directory)  # raises UsageError for a directory that is not a run
    kept = steps(directory / "checkpoints")
    if len(kept) < (last or 2):
        raise UsageError(
            f"{directory}: expected {last or 2} checkpoints, found {_counted(kept)}; "
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


def _task_head(experiment: Experiment) -> TaskHead | None:
    supervised = objective_of(experiment.objective).supervised
    return TaskHead(experiment.objective.name, experiment.task.labels) if supervised else None


def _counted(kept: list[int]) -> str:
    return f"{len(kept)} (step {', '.join(map(str, kept))})" if kept else "none"


def _restore(shapes: State, directory: Path, step: int | None) -> State:
    """`shapes` with the arrays that `evaluation_params` reads; the other leaves stay shapes."""
    checkpoint = intact_checkpoint(directory, step)
    leaves = by_path(shapes)
    needed = [name for name in leaves if name.startswith(_evaluated(shapes))]
    return refill(shapes, leaves | read_arrays(checkpoint, needed))


def _evaluated(state: State) -> tuple[str, ...]:
    """Path prefixes of the arrays that `evaluation_params` reads.

    The optimizer state is twice as large as the parameters, so it is read only if they depend on it. An
    average of all parameters makes the parameters themselves needless.
    """
    if state.ema_params is not None:
        model, ema_params = (
            [leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (state.model, state.ema_params)
        )
        return ("ema_params/",) if model == ema_params else ("model/", "ema_params/")
    return ("model/", "opt_state/") if averages_iterates(state.opt_state) else ("model/",)
