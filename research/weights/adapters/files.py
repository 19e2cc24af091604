"""The tensors of an adapter: adapter_model.safetensors or, of older versions, adapter_model.bin."""

from pathlib import Path

from research.errors import UsageError
from research.weights.formats import tensor_files
from research.weights.layout import Arrays

ARRAYS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"


def tensors_of(folder: Path) -> Arrays:
    """{name: tensor}, as the file has them. Raises UsageError for one that is missing or damaged."""
    if (path := folder / ARRAYS).exists():
        return tensor_files.read(path)
    if (path := folder / PICKLED).exists():
        return tensor_files.read_pickle(path)
    raise UsageError(f"{folder}: has no {ARRAYS} and no {PICKLED}")
