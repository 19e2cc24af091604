"""The parameters of one of our own runs, at its newest checkpoint, without its moments."""

from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
from numpy.typing import NDArray

from research.errors import UsageError
from research.training.record import experiment_of
from research.weights import tokenizer_files
from research.weights.layout import Weights, shapes

PARAMETERS = "model/"  # of the names in a checkpoint


def read(directory: Path) -> Weights:
    """Raises UsageError where there is no checkpoint, or one that is damaged."""
    config = experiment_of(directory).model
    checkpoints = directory / "checkpoints"
    steps = [int(path.name) for path in checkpoints.glob("*") if path.name.isdecimal()]
    if not steps:
        raise UsageError(f"{directory}: a run without a checkpoint; train it first")
    checkpoint = checkpoints.absolute() / str(max(steps)) / "default"
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            # One at a time: when one of several reads fails, Orbax lets the others run into a closed loop.
            arrays = {path: _restored(checkpointer, checkpoint, PARAMETERS + path) for path in shapes(config)}
    except Exception as error:  # Orbax's and TensorStore's, of many kinds
        told = " ".join(str(error).split())[:200]
        raise UsageError(f"{checkpoint}: cannot be read, it may be damaged: {told}") from None
    return Weights(config, arrays, {}, tokenizer_files.read(directory))


def _restored(checkpointer: ocp.PyTreeCheckpointer, checkpoint: Path, name: str) -> NDArray:
    args = ocp.args.PyTreeRestore(
        {name: 0}, restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray)}, partial_restore=True
    )
    return checkpointer.restore(checkpoint, args=args)[name]
