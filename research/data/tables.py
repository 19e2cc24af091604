"""Files of rows to read in R, pandas or a spreadsheet: .tsv, .csv or .jsonl."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from research.errors import UsageError
from research.io.files import check_absent, new_file

SUFFIXES = (".tsv", ".csv", ".jsonl")
DIGITS = 6  # of a number after the point


def check_new(path: Path) -> None:
    """Raises UsageError for a path that exists, has another suffix, or is in no folder."""
    check_absent(path)
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: there is no folder {path.parent}")
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--out {path}: expected a file that ends in {', '.join(SUFFIXES)}")


def check_columns(kept: Iterable[str], ours: Iterable[str]) -> None:
    """Raises UsageError for columns of the user's with a name of `ours`."""
    names = {*ours}
    if both := [name for name in kept if name in names]:
        raise UsageError(f"column {both[0]}: also a name of a column of the output; rename it")


def write(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows`, whole or not at all.

    Raises UsageError where the file exists, EnvironmentFault if it cannot be written.
    """
    check_new(path)
    with new_file(path) as file:
        for line in lines(names, rows, path.suffix):
            file.write(line.encode())


def lines(names: Sequence[str], rows: Iterable[Mapping[str, Any]], suffix: str) -> Iterator[str]:
    """Lines of a table, with a header, or of JSON. A missing number is an empty cell, or null.

    Cells with a separator or a quote are quoted, as R and pandas read them.
    """
    if suffix == ".jsonl":
        yield from (f"{_json(row)}\n" for row in rows)
        return
    cells = StringIO()
    writer = csv.writer(cells, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
        yield cells.getvalue()
        cells.seek(0)
        cells.truncate()
    yield cells.getvalue()


def _cell(value: Any) -> Any:
    return _json(value) if isinstance(value, dict | list | bool) else _finite(value)


def _json(value: Any) -> str:
    """Values that JSON lacks, such as the dates of a Parquet file, become text, and NaN becomes null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
