"""Parameters as Transformers' Flax classes saved them: flax_model.msgpack, or one of its shards."""

from pathlib import Path

import numpy as np
from flax.serialization import msgpack_restore
from flax.traverse_util import flatten_dict

from research.errors import UsageError
from research.weights.layout import Arrays


def load(path: Path) -> Arrays:
    """{"transformer/wte/embedding": array, …}. Raises UsageError for a file that cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {'no such file' if not path.exists() else error}") from None
    try:
        arrays = flatten_dict(msgpack_restore(content), sep="/")
    except Exception as error:  # of many classes, msgpack's and NumPy's among them
        message = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: cannot be read, it may be cut off or damaged: {message:.200}") from None
    found: Arrays = {}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            kind = type(array).__name__
            raise UsageError(f"{path}: {name} is of type {kind}; expected arrays, a model's parameters")
        found[name] = array
    return found
