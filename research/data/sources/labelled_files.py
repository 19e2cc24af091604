"""Labelled records in files: GLUE-style tables, JSON lines, SQuAD's JSON, CoNLL's columns.

A record maps field names to values. In a table without a header, names are column numbers: "0", "1", ….
"""

import csv
import gzip
import json
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from research.data.sources import files
from research.errors import UsageError

Record = Mapping[str, Any]

SUFFIXES = (".tsv", ".csv", ".jsonl", ".jsonl.gz", ".json", ".txt", ".conll")


def read(pattern: str, names: Collection[str]) -> Iterator[tuple[str, Record]]:
    """(file and line, record) for all files that match a glob, in order.

    A table's first row is a header where it contains one of `names`.

    Raises UsageError for a file that cannot be read.
    """
    for path in files.match(pattern, SUFFIXES):
        try:
            yield from READERS.get(path.suffix, _json_lines)(path, names)
        except UnicodeDecodeError as fault:
            raise UsageError(f"{path}: byte 0x{fault.object[fault.start]:02x} is not UTF-8") from fault
        except OSError as fault:
            raise UsageError(f"{path}: cannot be read: {fault.strerror or fault}") from fault


def _table(path: Path, names: Collection[str], rows: Iterator[list[str]]) -> Iterator[tuple[str, Record]]:
    """Rows as records. The first row is a header where it has one of `names` that is not a number."""
    header = None
    for number, cells in enumerate(rows, 1):
        if number == 1 and {name for name in names if not name.isdecimal()} & set(cells):
            header = cells
        elif cells:
            columns = header or [str(column) for column in range(len(cells))]
            yield f"{path}:{number}", dict(zip(columns, cells, strict=False))


def _tsv(path: Path, names: Collection[str]) -> Iterator[tuple[str, Record]]:
    """Only tabs and line ends separate cells, as in GLUE's files; quotes are text."""
    with open(path, encoding="utf-8", newline="\n") as file:
        yield from _table(path, names, (line.rstrip("\r\n").split("\t") for line in file))


def _csv(path: Path, names: Collection[str]) -> Iterator[tuple[str, Record]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        yield from _table(path, names, csv.reader(file))


def _json_lines(path: Path, names: Collection[str]) -> Iterator[tuple[str, Record]]:
    opens = gzip.open if path.suffix == ".gz" else open
    with opens(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as fault:
                raise UsageError(f"{path}:{number}: not a JSON object: {fault}") from fault
            if not isinstance(record, dict):
                raise UsageError(f"{path}:{number}: not a JSON object: {line[:40]!r}")
            yield f"{path}:{number}", record


def _json(path: Path, names: Collection[str]) -> Iterator[tuple[str, Record]]:
    """The questions of a SQuAD file, with TFDS's field names."""
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = question["answers"]
                    yield (
                        f"{path}: question {question['id']}",
                        question
                        | {
                            "context": paragraph["context"],
                            "answers": {
                                name: [a[name] for a in answers] for name in ("text", "answer_start")
                            },
                        },
                    )
    except (KeyError, TypeError, ValueError) as fault:
        raise UsageError(f"{path}: not a file of SQuAD's: {type(fault).__name__} {fault}") from fault


def _columns(path: Path, names: Collection[str]) -> Iterator[tuple[str, Record]]:
    """CoNLL files: one word per line, a blank line after each sentence. A record has the columns as lists."""
    with open(path, encoding="utf-8") as file:
        sentence, begin = [], 1
        for number, line in enumerate(chain(file, [""]), 1):
            cells = line.split()
            if cells and cells[0] != "-DOCSTART-":
                if sentence and len(cells) != len(sentence[0]):
                    wrong = f"{len(cells)} columns, the line before has {len(sentence[0])}"
                    raise UsageError(f"{path}:{number}: {wrong}")
                sentence.append(cells)
                continue
            if sentence:
                yield f"{path}:{begin}", {str(n): list(c) for n, c in enumerate(zip(*sentence, strict=True))}
            sentence, begin = [], number + 1


def _text(path: Path, names: Collection[str]) -> Iterator[tuple[str, Record]]:
    """A .txt file with JSON lines, as RACE's, or with columns, as CoNLL's."""
    with open(path, encoding="utf-8") as file:
        first = file.read(1)
    return (_json_lines if first == "{" else _columns)(path, names)


READERS = {".tsv": _tsv, ".csv": _csv, ".json": _json, ".txt": _text, ".conll": _columns}
