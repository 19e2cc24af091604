"""Compressed files: .gz, .bz2 and .xz by the standard library, .zst by pyarrow."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research.errors import EnvironmentFault, UsageError

KINDS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
BINARY = (".parquet", ".bin", ".npy")  # compressed inside, or memory-mapped: read only as they are
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)


def format_of(path: Path | str) -> str:
    """The suffix of a file's format: that of its name without a compression's, .csv of a.csv.gz."""
    path = Path(path)
    plain = Path(path.stem).suffix
    return plain if path.suffix in KINDS and plain and plain not in BINARY else path.suffix


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """The decompressed bytes. Raises UsageError for damage, EnvironmentFault for .zst without pyarrow."""
    with OPENERS[path.suffix](path) as file:
        try:
            if not path.stat().st_size:
                raise EOFError("it is empty")
            yield file
        except DAMAGE as fault:
            raise UsageError(f"{path}: damaged {KINDS[path.suffix]} file: {fault}") from fault


def _zstd(path: Path) -> io.BufferedIOBase:
    try:
        from pyarrow import input_stream
    except ImportError as fault:
        raise EnvironmentFault(f"{path}: it needs pyarrow: pip install 'lineage-lm[parquet]'") from fault
    return io.BufferedReader(input_stream(path, compression="zstd"))


OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _zstd,
}
