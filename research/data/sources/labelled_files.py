"""Labelled records in files: GLUE-style tables, JSON lines, SQuAD's JSON, CoNLL's columns.

A record maps field names to values. In a table without a header, names are column numbers: "0", "1", ….
"""

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from research.data.sources import files, tables
from research.data.sources.labelled import delimited, json_files
from research.errors import UsageError
from research.io import text

Record = Mapping[str, Any]
Records = Iterator[tuple[str, Record]]  # with the file and line of each

COLUMN_ENDS = re.compile(r"[ \t]+")  # other spaces may stand within a word
TABLES = tuple(delimited.READERS)
SUFFIXES = (*TABLES, *files.JSON_LINES, ".json", ".txt", ".conll", ".parquet")


def read(pattern: str, names: Collection[str], every_row: bool = False) -> Iterator[tuple[str, Record]]:
    """(file and line, record) for all files that match a glob, in order.

    A table's first row is a header if it contains one of `names`. Rows of a .tsv file that end before a
    column of `names`, such as QQP's rows broken by a line end, are skipped, and a LineageWarning gives their
    number. They are an error with `every_row`, since answers would shift, and in a .csv file.

    Raises UsageError for a file that cannot be read.
    """
    for path in files.match(pattern, SUFFIXES):
        if path.suffix in TABLES:
            yield from delimited.records(path, names, every_row)
        else:
            yield from READERS.get(path.suffix, text.json_lines)(path)


def columns(path: Path) -> list[str]:
    """Names of the first record's fields; for a table, the cells of its first row, which may be a header.

    Raises UsageError for a file that cannot be read, and for one without a record.
    """
    if path.suffix == ".parquet":
        found = tables.columns(path)
    elif path.suffix in TABLES:
        found = next((cells for _, cells in delimited.READERS[path.suffix](path)), [])
    else:
        found = next((list(record) for _, record in READERS.get(path.suffix, text.json_lines)(path)), [])
    if not found:
        raise UsageError(f"{path}: the file is empty")
    return found


def _columns(path: Path) -> Records:
    """CoNLL files: one word per line, a blank line after each sentence. A record has the columns as lists."""
    sentence, begin = [], 1
    for number, line in chain(text.lines(path), [(0, "")]):
        cells = [cell for cell in COLUMN_ENDS.split(line) if cell]
        if cells and cells[0] != "-DOCSTART-":
            if sentence and len(cells) != len(sentence[0]):
                wrong = f"{len(cells)} columns, the line before has {len(sentence[0])}"
                raise UsageError(f"{path}:{number}: {wrong}")
            sentence.append(cells)
            continue
        if sentence:
            yield f"{path}:{begin}", {str(n): list(c) for n, c in enumerate(zip(*sentence, strict=True))}
        sentence, begin = [], number + 1


def _text(path: Path) -> Records:
    """A .txt file with JSON lines, as RACE's, or with columns, as CoNLL's."""
    first = next((line for _, line in text.lines(path) if line.strip()), "")
    return (text.json_lines if first.startswith("{") else _columns)(path)


def _parquet(path: Path) -> Records:
    return ((f"{path}: row {number}", record) for number, record in enumerate(tables.rows(path), 1))


READERS = {".json": json_files.records, ".txt": _text, ".conll": _columns, ".parquet": _parquet}
