"""Texts or pairs of texts of a file, one per line or row, for features and surprisals."""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from research.data.sources import files, labelled_files, tables
from research.errors import UsageError, did_you_mean
from research.io import text

PAIR = re.compile(r"(.*) \|\|\| (.*)")  # of a line of a .txt file, as in Google's extract_features.py


def read(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The text or pair of each line, including empty lines, so that results keep line numbers.

    `fields` name the one or two columns of files that have any. Raises UsageError for a file that cannot be
    read, EnvironmentFault for a .parquet file without pyarrow.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if path.suffix in tables.READERS:
        yield from zip(*(tables.READERS[path.suffix](path, field) for field in fields), strict=True)
    elif path.name.endswith(files.JSON_LINES):
        for where, record in text.json_lines(path):
            yield tuple(files.field_text(record, field, where, "--field") for field in fields)
    elif path.name.endswith(files.TEXTS):
        for _, line in text.lines(path):
            match = PAIR.fullmatch(line.strip())
            yield match.groups() if match else (line.strip(),)
    else:
        raise UsageError(f"{path}: expected a file that ends in {', '.join(files.SUFFIXES)}")


def with_columns(path: Path, field: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of a text file, as it is; each row's text, in the column `field`, with its other columns.

    Raises UsageError for a file that cannot be read, and for a row without the text.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if path.name.endswith(files.TEXTS):
        yield from ((line, {}) for _, line in text.lines(path))
        return
    if not path.name.endswith(files.SUFFIXES):
        raise UsageError(f"{path}: expected a file that ends in {', '.join(files.SUFFIXES)}")
    if path.suffix in labelled_files.TABLES and field not in (found := labelled_files.columns(path)):
        raise UsageError(f"{path}: no column {field!r} (--field){did_you_mean(field, found)}")
    for where, record in labelled_files.read(glob.escape(str(path)), [field], every_row=True):
        yield (
            files.field_text(dict(record), field, where, "--field"),
            {name: value for name, value in record.items() if name != field},
        )
