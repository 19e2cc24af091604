"""The parameters of one of our own runs, at its newest checkpoint: those that it evaluates."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from numpy.typing import NDArray

from research.config import Optimizer
from research.errors import UsageError
from research.training.checkpoint import by_path, refill
from research.training.record import experiment_of
from research.training.state import evaluated, initial_state
from research.weights import tokenizer_files
from research.weights.layout import Weights


def read(directory: Path) -> Weights:
    """Raises UsageError where there is no checkpoint, or one that is damaged."""
    experiment = experiment_of(directory)
    checkpoints = directory / "checkpoints"
    steps = [int(path.name) for path in checkpoints.glob("*") if path.name.isdecimal()]
    if not steps:
        raise UsageError(f"{directory}: a run without a checkpoint; train it first")
    checkpoint = checkpoints.absolute() / str(max(steps)) / "default"
    state = jax.eval_shape(partial(initial_state, experiment))
    leaves = by_path(state)
    needed = [name for name in leaves if name.startswith(_needed(experiment.optimizer))]
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            # One at a time: when one of several reads fails, Orbax lets the others run into a closed loop.
            leaves |= {name: _restored(checkpointer, checkpoint, name) for name in needed}
    except Exception as error:  # Orbax's and TensorStore's, of many kinds
        told = " ".join(str(error).split())[:200]
        raise UsageError(f"{checkpoint}: cannot be read, it may be damaged: {told}") from None
    model = evaluated(experiment, refill(state, leaves))
    arrays = {path: np.asarray(array) for path, array in by_path(model).items()}
    return Weights(experiment.model, arrays, {}, tokenizer_files.read(directory))


def _needed(optimizer: Optimizer) -> tuple[str, ...]:
    """The parts of a state that `evaluated` looks at; moments are twice the parameters, so not in vain."""
    if optimizer.ema is not None:
        return ("average/",)
    return ("model/", "moments/") if optimizer.name == "schedule_free_adamw" else ("model/",)


def _restored(checkpointer: ocp.PyTreeCheckpointer, checkpoint: Path, name: str) -> NDArray:
    args = ocp.args.PyTreeRestore(
        {name: 0}, restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray)}, partial_restore=True
    )
    return checkpointer.restore(checkpoint, args=args)[name]
