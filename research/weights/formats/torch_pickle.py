"""Reads files of `torch.save` without PyTorch and without running code in them.

A pickle names functions to call. Here the names of tensors and plain containers map to our own functions, and
all other names to empty objects. Both forms are supported: the archive of PyTorch 1.6 and newer, and the
sequential pickles of older versions.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from research.io.files import catch_damage
from research.io.text import reading

ARCHIVE = b"PK"  # first bytes
MAGIC = 0x1950A86A20F9469CFC6C  # in the first pickle of an older file
TYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}

Read = Callable[[str], bytes]  # a storage's key → its bytes


class Tensor(NamedTuple):
    """A tensor whose numbers are read on demand."""

    read: Read
    key: str
    dtype: np.dtype
    offset: int  # index of the first number in the storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in numbers

    def array(self) -> NDArray:
        numbers = np.frombuffer(self.read(self.key), self.dtype)
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min(self.offset, *self.strides, 0) < 0 or last >= len(numbers):
            raise ValueError(f"a tensor of shape {self.shape} exceeds its {len(numbers)} numbers")
        steps = [step * self.dtype.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, steps)


class Unknown:
    """Replacement for an object of any other class: it accepts anything and holds nothing."""

    def __init__(self, *_: Any, **__: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    extend = append


def load(path: Path) -> Any:
    """The saved object, with a `Tensor` for each of its tensors.

    Raises UsageError for a file that cannot be read, is damaged, or is not PyTorch's.
    """
    with catch_damage(path), reading(path):  # a damaged pickle may raise anything
        return _archived(path) if _is_archive(path) else _in_a_row(path.read_bytes())


def arrays(path: Path, tensors: dict[Any, Any]) -> dict[str, NDArray]:
    """The arrays of a state dict. Raises UsageError if it is not one, or if the file is damaged."""
    with catch_damage(path):
        return {name: tensor.array() for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, read: Read, seen: dict[str, np.dtype]):
        super().__init__(file)
        self._read, self._seen = read, seen

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in TYPES:
            return np.dtype(TYPES[name])
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
            ("collections", "OrderedDict"): OrderedDict,
        }
        return known.get((module, name), Unknown)

    def persistent_load(self, pid: Any) -> tuple[Read, str, np.dtype]:
        _, dtype, key = pid[:3]
        self._seen[key] = dtype
        return self._read, key, dtype


def _tensor(
    storage: tuple[Read, str, np.dtype], offset: int, shape: tuple, strides: tuple, *_: Any
) -> Tensor:
    return Tensor(*storage, offset, tuple(shape), tuple(strides))


def _is_archive(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(ARCHIVE)) == ARCHIVE


def _archived(path: Path) -> Any:
    archive = zipfile.ZipFile(path)  # stays open while tensors may be read from it
    (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    folder = name.removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    pickled = io.BytesIO(archive.read(name))
    return _Unpickler(pickled, lambda key: archive.read(f"{folder}data/{key}"), {}).load()


def _in_a_row(content: bytes) -> Any:
    """Reads the older form: magic number, version, system facts, the object, storage keys, then numbers."""
    file, storages, seen = io.BytesIO(content), {}, {}
    if _Unpickler(file, storages.__getitem__, seen).load() != MAGIC:
        raise ValueError("it does not begin as PyTorch's files do")
    for _ in ("version", "machine"):
        _Unpickler(file, storages.__getitem__, seen).load()
    found = _Unpickler(file, storages.__getitem__, seen).load()
    for key in _Unpickler(file, storages.__getitem__, seen).load():
        (count,) = struct.unpack("<q", file.read(8))
        storages[key] = file.read(count * seen[key].itemsize)
    return found
