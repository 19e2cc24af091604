"""Labelled records in files: GLUE-style tables, JSON lines, SQuAD's JSON, CoNLL's columns.

A record maps field names to values. In a table without a header, names are column numbers: "0", "1", ….
"""

import csv
import io
import json
import re
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from research.data.sources import files, tables
from research.errors import LineageWarning, UsageError
from research.io import text

Record = Mapping[str, Any]
Records = Iterator[tuple[str, Record]]  # with the file and line of each
Row = tuple[int, list[str]]  # the line where it ends, its cells

COLUMN_ENDS = re.compile(r"[ \t]+")  # other spaces may stand within a word
SUFFIXES = (".tsv", ".csv", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".txt", ".conll", ".parquet")


def read(pattern: str, names: Collection[str], every_row: bool = False) -> Iterator[tuple[str, Record]]:
    """(file and line, record) for all files that match a glob, in order.

    A table's first row is a header if it contains one of `names`. Rows of a .tsv file that end before a
    column of `names`, such as QQP's rows broken by a line end, are skipped, and a LineageWarning gives their
    number. They are an error with `every_row`, since answers would shift, and in a .csv file, where an open
    quote has swallowed the following rows.

    Raises UsageError for a file that cannot be read.
    """
    for path in files.match(pattern, SUFFIXES):
        if path.suffix in TABLES:
            strict = every_row or path.suffix == ".csv"
            yield from _table(path, names, TABLES[path.suffix](path), strict)
        else:
            yield from READERS.get(path.suffix, text.json_lines)(path)


def columns(path: Path) -> list[str]:
    """Names of the first record's fields; for a table, the cells of its first row, which may be a header.

    Raises UsageError for a file that cannot be read, and for one without a record.
    """
    if path.suffix == ".parquet":
        found = tables.columns(path)
    elif path.suffix in TABLES:
        found = next((cells for _, cells in TABLES[path.suffix](path)), [])
    else:
        found = next((list(record) for _, record in READERS.get(path.suffix, text.json_lines)(path)), [])
    if not found:
        raise UsageError(f"{path}: the file is empty")
    return found


def _table(path: Path, names: Collection[str], rows: Iterator[Row], strict: bool) -> Records:
    """Rows as records. The first row is a header if it has one of `names` that is not a number."""
    header, named, broken = None, -1, []
    for row, (line, cells) in enumerate(rows):
        if row == 0 and (found := {name for name in names if not name.isdecimal()} & set(cells)):
            header, named = cells, max(map(cells.index, found))
        elif len(cells) <= named:
            broken.append(line)
        else:
            columns = header or [str(column) for column in range(len(cells))]
            yield f"{path}:{line}", dict(zip(columns, cells, strict=False))
    if broken:
        problem = f"{path}:{broken[0]}: fewer cells than the header has"
        if strict:
            raise UsageError(f"{problem}; expected a cell in each of its named columns")
        warnings.warn(f"{problem}; rows like this left out: {len(broken):,}", LineageWarning, stacklevel=2)


def _tsv(path: Path) -> Iterator[Row]:
    """Only tabs and line ends separate cells, as in GLUE's files; quotes are text."""
    return ((number, line.split("\t")) for number, line in text.lines(path) if line)


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)
    whole = text.read_exact(path)
    first = re.match(r"[^\r\n]*", whole)[0]
    separator = ";" if ";" in first and "," not in first else ","  # as spreadsheets write it in some locales
    reader = csv.reader(io.StringIO(whole, newline=""), delimiter=separator)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as fault:
        raise UsageError(f"{path}:{reader.line_num}: not CSV: {fault}") from fault


def _json(path: Path) -> Records:
    """The questions of a SQuAD file, with TFDS's field names."""
    try:
        articles = json.loads(text.read_text(path))["data"]
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    found = question | {"context": paragraph["context"]}
                    if (answers := question.get("answers")) is not None:
                        found["answers"] = {
                            name: [one[name] for one in answers] for name in ("text", "answer_start")
                        }
                    yield f"{path}: question {question['id']}", found
    except (KeyError, TypeError, ValueError) as fault:
        raise UsageError(f"{path}: not in SQuAD's format: {type(fault).__name__} {fault}") from fault


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


TABLES = {".tsv": _tsv, ".csv": _csv}
READERS = {".json": _json, ".txt": _text, ".conll": _columns, ".parquet": _parquet}
