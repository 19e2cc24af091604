"""Parameters as Transformers' Flax classes saved them: flax_model.msgpack, or one of its shards."""

from pathlib import Path

import numpy as np
from flax.serialization import msgpack_restore
from flax.traverse_util import flatten_dict

from research.errors import UsageError
from research.io.files import catch_damage
from research.weights.layout import Arrays


def load(path: Path) -> Arrays:
    """{"transformer/wte/embedding": array, …}. Raises UsageError for a file that cannot be read."""
    with catch_damage(path):
        arrays = flatten_dict(msgpack_restore(path.read_bytes()), sep="/")
    found: Arrays = {}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            kind = type(array).__name__
            raise UsageError(f"{path}: {name} is of type {kind}; expected arrays, a model's parameters")
        found[name] = array
    return found
