"""Labelled records in tables: GLUE's .tsv files, and .csv files of spreadsheets and pandas."""

import csv as csv_
import io
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from research.errors import LineageWarning, UsageError
from research.io import text
from research.io.compression import format_of

Row = tuple[int, list[str]]  # the number of its last line, its cells

LAST = "\x1c"  # a row appended to see whether an open quote swallows it


def records(path: Path, names: Collection[str], every_row: bool) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(file and line, record) of each row. The first is a header if it has a non-numeric one of `names`.
    Rows with too few cells are an error in a .csv file or with `every_row`; otherwise they are skipped.

    Raises UsageError for a row with too many cells, whose fields would shift, and for a header with one of
    `names` twice.
    """
    header, named, width, broken = None, -1, None, []
    for row, (line, cells) in enumerate(READERS[format_of(path)](path)):
        if row == 0 and (found := {name for name in names if not name.isdecimal()} & set(cells)):
            refuse_doubled(path, line, cells, found)
            header, named, width = cells, max(map(cells.index, found)), len(cells)
        elif len(cells) <= named:
            broken.append(line)
        else:
            if width is None and format_of(path) == ".csv":
                width = len(cells)  # without a header, the first row's
            if width is not None:
                refuse_longer(path, line, cells, width)
            columns = header or [str(column) for column in range(len(cells))]
            yield f"{path}:{line}", dict(zip(columns, cells, strict=False))
    if broken:
        problem = f"{path}:{broken[0]}: fewer cells than the header has"
        if every_row or format_of(path) == ".csv":
            raise UsageError(f"{problem}; expected a cell in each of its named columns")
        warnings.warn(f"{problem}; rows like this left out: {len(broken):,}", LineageWarning, stacklevel=2)


def refuse_doubled(path: Path, line: int, header: list[str], names: Collection[str]) -> None:
    """Raises UsageError for a header with one of `names` twice."""
    for name in names:
        if header.count(name) > 1:
            raise UsageError(f"{path}:{line}: {header.count(name)} columns are called {name}; expected one")


def refuse_longer(path: Path, line: int, cells: list[str], width: int) -> None:
    """Raises UsageError for a row with more cells than `width`, unless the extra cells are empty."""
    if any(cells[width:]):
        hint = "; a text with a separator in it needs quotes" if format_of(path) == ".csv" else ""
        raise UsageError(f"{path}:{line}: {len(cells)} cells; expected {width}, as above it{hint}")


def tsv(path: Path) -> Iterator[Row]:
    """Rows of cells between tabs, as in GLUE's files; quotes are text."""
    return ((number, line.split("\t")) for number, line in text.lines(path) if line)


def csv(path: Path) -> Iterator[Row]:
    """Rows of cells between commas or semicolons. Raises UsageError, with its line, for an unclosed quote."""
    csv_.field_size_limit(sys.maxsize)
    whole = text.read_exact(path)
    first = re.split(r"[\r\n]", whole, maxsplit=1)[0]
    # In some locales, spreadsheets write semicolons.
    separator = ";" if ";" in first and "," not in first else ","
    end = "" if not whole or whole.endswith(("\n", "\r")) else "\n"
    held: list[str] = []  # the lines of the row that is being read
    lines = (held.append(line) or line for line in io.StringIO(f"{whole}{end}{LAST}", newline=""))
    reader = csv_.reader(lines, delimiter=separator)
    cells: list[str] = []
    try:
        for cells in reader:
            if len(held) > 1 and not _is_quoted_well(held, separator):
                break
            if cells and cells != [LAST]:
                yield reader.line_num, cells
            held.clear()
    except csv_.Error as fault:
        raise UsageError(f"{path}:{reader.line_num}: not CSV: {fault}") from fault
    if held:
        ends = [len(text.LINE_END.findall(cell)) for cell in cells]
        opened = reader.line_num - next((count for count in reversed(ends) if count), 0)
        raise UsageError(f"{path}:{opened}: a quote opens and does not close; expected one after the cell")


def _is_quoted_well(lines: list[str], separator: str) -> bool:
    """Whether each quote closes at a cell's end; if not, it may be the opening quote of a later cell."""
    try:
        return bool(list(csv_.reader(lines, delimiter=separator, strict=True)))
    except csv_.Error:
        return False


READERS = {".tsv": tsv, ".csv": csv}
