"""Records in files: tables, JSON lines, Parquet, SQuAD's JSON, CoNLL's columns.

A record maps field names to values. In a table without a header, names are column numbers: "0", "1", ….
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from research.data.sources import delimited, parquet
from research.errors import UsageError
from research.io import text
from research.io.compression import format_of

Record = Mapping[str, Any]  # field → value
Records = Iterator[tuple[str, Record]]  # each with its file and place

COLUMN_ENDS = re.compile(r"[ \t]+")  # other spaces may stand within a word
TABLES = tuple(delimited.READERS)
JSON = (".jsonl", ".ndjson", ".json")
SUFFIXES = (*TABLES, *JSON, ".txt", ".conll", ".parquet")


def records(path: Path, names: Collection[str], every_row: bool = False) -> Records:
    """(file and place, record) for each record of a file, in order.

    A table's first row is a header if it contains one of `names`. Rows of a .tsv file that end before a
    column of `names`, such as QQP's rows broken by a line end, are skipped, and a LineageWarning gives their
    number. They are an error with `every_row`, since answers would shift, and in a .csv file.
    """
    if format_of(path) in TABLES:
        return delimited.records(path, names, every_row)
    return READERS.get(format_of(path), text.json_lines)(path)


def columns(path: Path) -> list[str]:
    """Names of the first record's fields; for a table, the cells of its first row, which may be a header."""
    if path.suffix == ".parquet":
        found = parquet.columns(path)
    elif format_of(path) in TABLES:
        found = next((cells for _, cells in delimited.READERS[format_of(path)](path)), [])
    else:
        found = next((list(record) for _, record in records(path, ())), [])
    if not found:
        raise UsageError(f"{path}: the file is empty")
    return found


def _words(path: Path) -> Records:
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


def _words_or_json_lines(path: Path) -> Records:
    """A .txt file with columns, as CoNLL's, or with JSON lines, as RACE's."""
    first = next((line for _, line in text.lines(path) if line.strip()), "")
    return (text.json_lines if first.startswith("{") else _words)(path)


def _json(path: Path) -> Records:
    """SQuAD's articles, a list of objects, or one object per line."""
    if _has_lines(path):
        yield from text.json_lines(path)
        return
    found = text.read_json(path)
    listed = found.get("data", [found]) if isinstance(found, dict) else found
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise UsageError(f"{path}: expected SQuAD's data, a list of objects, or an object in each line")
    for number, one in enumerate(listed, 1):
        if "paragraphs" in one:
            yield from _questions(path, one)
        else:
            yield f"{path}: object {number}", one


def _has_lines(path: Path) -> bool:
    """Whether the first of several lines is an object; reads no further, since the file may be large."""
    first = list(islice((line for _, line in text.lines(path) if line.strip()), 2))
    try:
        return len(first) == 2 and isinstance(json.loads(first[0]), dict)
    except ValueError:
        return False


def _questions(path: Path, article: Record) -> Records:
    """The questions of one of SQuAD's articles, with TFDS's field names."""
    try:
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


READERS = {".json": _json, ".txt": _words_or_json_lines, ".conll": _words, ".parquet": parquet.rows}
