"""The tensors of an adapter: adapter_model.safetensors or, of older versions, adapter_model.bin."""

from pathlib import Path

import ml_dtypes  # noqa: F401  (NumPy then knows bfloat16)
from safetensors.numpy import load_file

from research.errors import UsageError
from research.io.files import catch_damage
from research.weights.formats import torch_pickle
from research.weights.layout import Arrays

ARRAYS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"


def tensors_of(folder: Path) -> Arrays:
    """{name: tensor}, as the file has them. Raises UsageError for one that is missing or damaged."""
    if (path := folder / ARRAYS).exists():
        with catch_damage(path):
            return load_file(path)
    if (path := folder / PICKLED).exists():
        with catch_damage(path):
            return torch_pickle.arrays(path, torch_pickle.load(path))
    raise UsageError(f"{folder}: has no {ARRAYS} and no {PICKLED}")
