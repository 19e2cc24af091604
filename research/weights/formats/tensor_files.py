"""Files of tensors by name: safetensors and, of older versions, pickles of PyTorch."""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  (NumPy then knows bfloat16, in which many are published)
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from research.io.files import catch_damage
from research.weights.formats import torch_pickle
from research.weights.layout import Arrays


def read(path: Path) -> Arrays:
    """The tensors of a safetensors file. Raises UsageError for one that is missing or damaged."""
    with catch_damage(path):
        return load_file(path)


def read_pickle(path: Path) -> Arrays:
    """The tensors of a pickle. Raises UsageError as `read` does."""
    return torch_pickle.arrays(path, torch_pickle.load(path))


def write(
    path: Path, tensors: Mapping[str, NDArray], like: Path, metadata: dict[str, str] | None = None
) -> None:
    """Writes a safetensors file with the permissions of `like`: the library's are private. Raises OSError."""
    try:
        save_file(dict(tensors), path, metadata)
    except SafetensorError as error:
        raise OSError(None, str(error)) from error
    path.chmod(like.stat().st_mode)
