"""Rows of .parquet files. Every function raises EnvironmentFault without pyarrow."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from research.errors import EnvironmentFault, UsageError
from research.io.text import reading

BUFFER = 1 << 20  # bytes of a file that are read at once


def rows(path: Path, wanted: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and row, columns) of each row: all columns, or the one that is `wanted` if there is one."""
    with _opened(path) as file:
        columns = [wanted] if wanted in file.schema_arrow.names else None
        batches = file.iter_batches(1_024, columns=columns)
        for number, row in enumerate(chain.from_iterable(batch.to_pylist() for batch in batches), 1):
            yield f"{path}: row {number}", row


def columns(path: Path) -> list[str]:
    """Names of the columns."""
    with _opened(path) as file:
        return file.schema_arrow.names


def metadata(path: Path) -> dict[bytes, bytes]:
    with _opened(path) as file:
        return file.schema_arrow.metadata or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as fault:
        raise EnvironmentFault(f"{path}: it needs pyarrow: pip install 'lineage-lm[parquet]'") from fault
    try:
        with reading(path):
            yield pyarrow.parquet.ParquetFile(
                path,
                buffer_size=BUFFER,
                pre_buffer=False,  # pre-buffering would hold a row group's column in memory
                page_checksum_verification=True,  # where there are sums
            )
    except (pyarrow.ArrowException, UnicodeDecodeError) as fault:
        reason = " ".join(str(fault).split())
        raise UsageError(f"{path}: no Parquet file that can be read: {reason}") from fault
