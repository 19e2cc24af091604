"""Documents in tables: a column of a GLUE-style .tsv file, a .csv file or a .parquet file."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from research.data.sources.labelled import delimited
from research.errors import EnvironmentFault, UsageError, did_you_mean
from research.io.text import lines, reading

BUFFER = 1 << 20  # bytes of a .parquet file that are read at once


def tsv(path: Path, field: str) -> Iterator[str]:
    """A column of a .tsv file. Only tabs and line ends separate cells, as in GLUE's files; quotes are text.

    The first row names the columns, unless `field` is a column number, counted from 0.
    """
    return _column(path, field, ((number, line.split("\t")) for number, line in lines(path)))


def csv(path: Path, field: str) -> Iterator[str]:
    """A column of a .csv file, named or numbered as in a .tsv file."""
    return _column(path, field, _as_long(path))


def _as_long(path: Path) -> Iterator[delimited.Row]:
    """The rows of a .csv file. Raises UsageError for one longer than the first."""
    width = None
    for line, cells in delimited.csv(path):
        width = len(cells) if width is None else width
        delimited.refuse_longer(path, line, cells, width)
        yield line, cells


def _column(path: Path, field: str, rows: Iterator[delimited.Row]) -> Iterator[str]:
    column = int(field) if field.isdecimal() else None
    for number, cells in rows:
        if column is None:
            if field not in cells:
                raise UsageError(
                    f"{path}:{number}: no column {field!r} (data.field){did_you_mean(field, cells)}"
                )
            delimited.refuse_doubled(path, number, cells, [field])
            column = cells.index(field)
        elif cells == [""]:
            continue
        elif column < len(cells):
            yield cells[column]
        else:
            raise UsageError(f"{path}:{number}: no column {field} (data.field); it has {len(cells)}")


def parquet(path: Path, field: str) -> Iterator[str]:
    """A column of a .parquet file, without its nulls. Raises EnvironmentFault without pyarrow."""
    with _opened(path) as file:
        if field not in file.schema_arrow.names:
            hint = did_you_mean(field, file.schema_arrow.names)
            raise UsageError(f"{path}: no column {field!r} (data.field){hint}")
        batches = file.iter_batches(1_024, columns=[field])
        values = chain.from_iterable(batch.column(0).to_pylist() for batch in batches)
        for row, value in enumerate(values, 1):
            if value is None:
                continue
            if not isinstance(value, str):
                raise UsageError(f"{path}: row {row}: column {field!r} is not a text but {value!r:.40}")
            yield value


def columns(path: Path) -> list[str]:
    """Names of the columns of a .parquet file. Raises EnvironmentFault without pyarrow."""
    with _opened(path) as file:
        return file.schema_arrow.names


def metadata(path: Path) -> dict[bytes, bytes]:
    """The metadata of a .parquet file. Raises EnvironmentFault without pyarrow."""
    with _opened(path) as file:
        return file.schema_arrow.metadata or {}


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """All columns of each row of a .parquet file. Raises EnvironmentFault without pyarrow."""
    with _opened(path) as file:
        for batch in file.iter_batches(1_024):
            yield from batch.to_pylist()


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


READERS = {".tsv": tsv, ".csv": csv, ".parquet": parquet}
