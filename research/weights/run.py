"""The parameters of one of our own runs, at a checkpoint or averaged over some: those that it evaluates."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from numpy.typing import NDArray

from research.config import Experiment, Optimizer
from research.errors import UsageError
from research.training.checkpoint import by_path, refill
from research.training.plain import plain
from research.training.record import experiment_of
from research.training.seal import damage, steps
from research.training.state import State, evaluated, initial_state
from research.training.written import ITEM
from research.weights import tokenizer_files
from research.weights.layout import Answers, Weights


def read(directory: Path, step: int | None = None) -> Weights:
    """At `step`, or at the newest. Raises UsageError where there is no such checkpoint, or a damaged one."""
    experiment = experiment_of(directory)
    model = evaluated(experiment, _restored(directory, experiment, step))
    arrays = {path: np.asarray(array) for path, array in by_path(model).items()}
    answers = None
    if experiment.labelled:
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
    """What `evaluated` needs of a checkpoint, the rest as shapes."""
    kept = steps(directory / "checkpoints")
    if not kept:
        raise UsageError(f"{directory}: a run without a checkpoint; train it first")
    step = kept[-1] if step is None else step
    if step not in kept:
        raise UsageError(f"{directory}:{step}: no such checkpoint; there are {', '.join(map(str, kept))}")
    checkpoint = directory.absolute() / "checkpoints" / str(step)
    others = "".join(f", {directory}:{other} is there" for other in reversed(kept) if other != step)
    if (wrong := damage(checkpoint)) is not None:
        raise UsageError(f"{checkpoint}: cannot be read, it is damaged: {wrong}{others}")
    state = jax.eval_shape(partial(initial_state, experiment))
    leaves = by_path(state)
    needed = [name for name in leaves if name.startswith(_needed(experiment.optimizer))]
    try:
        with plain(checkpoint) as path, ocp.PyTreeCheckpointer() as checkpointer:
            # One at a time: when one of several reads fails, Orbax lets the others run into a closed loop.
            leaves |= {name: _array(checkpointer, path / ITEM, name) for name in needed}
    except Exception as error:  # Orbax's and TensorStore's, of many kinds
        told = " ".join(str(error).split())[:200]
        raise UsageError(f"{checkpoint}: cannot be read: {told}") from None
    return refill(state, leaves)


def _needed(optimizer: Optimizer) -> tuple[str, ...]:
    """The parts of a state that `evaluated` looks at; moments are twice the parameters, so not in vain."""
    if optimizer.ema is not None:
        return ("average/",)
    return ("model/", "moments/") if optimizer.name == "schedule_free_adamw" else ("model/",)


def _array(checkpointer: ocp.PyTreeCheckpointer, checkpoint: Path, name: str) -> NDArray:
    args = ocp.args.PyTreeRestore(
        {name: 0}, restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray)}, partial_restore=True
    )
    return checkpointer.restore(checkpoint, args=args)[name]
