"""Compressed files: .gz, .bz2 and .xz by the standard library, .zst by Python 3.14 or a package."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from research.errors import EnvironmentFault, UsageError

KINDS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
BINARY = (".parquet", ".bin", ".npy")  # compressed inside, or memory-mapped: read only as they are
Open = Callable[[Path], Any]
OPENERS: dict[str, Open] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)
CHUNK = 1 << 17  # compressed bytes that are read at once


def format_of(path: Path | str) -> str:
    """The suffix of a file's format: that of its name without a compression's, .csv of a.csv.gz."""
    path = Path(path)
    plain = Path(path.stem).suffix
    return plain if path.suffix in KINDS and plain and plain not in BINARY else path.suffix


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """The decompressed bytes. Raises UsageError for a damaged file, EnvironmentFault for a .zst file where
    no package reads it.
    """
    opener, damage = (OPENERS[path.suffix], DAMAGE) if path.suffix in OPENERS else _zstd(path)
    with opener(path) as file:
        try:
            if not path.stat().st_size:
                raise EOFError("it is empty")
            yield file
        except damage as fault:
            raise UsageError(f"{path}: damaged {KINDS[path.suffix]} file: {fault}") from fault


def _zstd(path: Path) -> tuple[Open, tuple[type[Exception], ...]]:
    """What opens the file, and the errors of a damaged one."""
    for name, find in ZSTD.items():
        try:
            module = import_module(name)
        except ImportError:
            continue
        return find(module)
    raise EnvironmentFault(f"{path}: it needs zstandard: pip install 'lineage-lm[zstd]'")


class _Frames(io.RawIOBase):
    """The bytes of a file's frames, by zstandard, whose own reader does not see that a file is cut off."""

    def __init__(self, module: Any, path: Path):
        self._new, self._ready = module.ZstdDecompressor().decompressobj, b""
        self._file = open(path, "rb")  # noqa: SIM115  (`close` closes it)
        self._frame: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            given = self._frame.unused_data if self._frame is not None and self._frame.eof else b""
            given = given or self._file.read(CHUNK)
            if not given and self._frame is not None and not self._frame.eof:
                raise EOFError("it ends within a frame")
            if not given:
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._new()
            self._ready = self._frame.decompress(given)
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


ZSTD = {  # module → what opens a file, and its errors; the first that is installed
    "compression.zstd": lambda zstd: (zstd.open, (*DAMAGE, zstd.ZstdError)),
    "zstandard": lambda zstandard: (
        lambda path: io.BufferedReader(_Frames(zstandard, path)),
        (*DAMAGE, zstandard.ZstdError),
    ),
    "pyarrow": lambda pyarrow: (
        lambda path: io.BufferedReader(pyarrow.input_stream(path, compression="zstd")),
        DAMAGE,
    ),
}
