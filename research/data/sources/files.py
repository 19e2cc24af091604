"""Documents in files: a text file or each of its paragraphs; each line or row of other files."""

import difflib
import glob
import json
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from research.data.sources import tables
from research.errors import LineageWarning, UsageError, did_you_mean
from research.io import content, text

JSON_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".json.gz", ".json.zst")
TEXTS = (".txt", ".md", ".txt.gz")  # one document, or one per paragraph
SUFFIXES = (*TEXTS, *JSON_LINES, ".tsv", ".csv", ".parquet")
TOKENS = (".bin", ".npy")  # of the scheme tokens
BLANK_LINE = re.compile(r"(?:\r\n|\n|\r(?!\n))\s*(?:\n|\r(?!\n))")


def match(pattern: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files that match a glob, sorted by name; ~ and ** expand. Raises UsageError if there are none.

    A pattern without matches is read literally if it names something that exists.
    """
    pattern = os.path.expanduser(pattern)
    matches = expand(pattern)
    paths = [path for path in matches if path.is_file()]
    for path in paths:
        if not path.name.endswith(suffixes):
            hint = f"; did you mean {as_source(pattern)}?" if path.name.endswith(TOKENS) else ""
            raise UsageError(f"{path}: expected a file that ends in {', '.join(suffixes)}{hint}")
    if not paths:
        scheme = "tokens" if suffixes == TOKENS else "files"
        reason = _explain_no_match(Path(pattern), matches, scheme, suffixes)
        raise UsageError(f"{scheme}:{pattern}: {reason}")
    return paths


def as_source(path: str) -> str:
    """A file as `data.source`: tokens by its suffix, else text or examples."""
    return f"{'tokens' if path.endswith(TOKENS) else 'files'}:{path}"


def expand(pattern: str) -> list[Path]:
    """The matches of a glob, sorted by name.

    Without a match, the longest existing prefix of the pattern is read literally, so a folder called [x]
    needs no escape, unless a folder x has such files too.
    """
    if not (matches := glob.glob(pattern, recursive=True)):
        prefix = next((path for path in (Path(pattern), *Path(pattern).parents) if path.exists()), Path())
        literal = os.path.join(glob.escape(str(prefix)), *Path(pattern).relative_to(prefix).parts)
        matches = glob.glob(literal, recursive=True)
    return sorted(map(Path, matches))


def read(paths: list[Path], field: str, unit: str) -> Iterator[str]:
    """Every document, in order. `unit` "paragraphs" splits text files at blank lines; "files" does not.

    Nulls in JSON lines are left out, with a LineageWarning. Raises UsageError, with file and line, for
    content that is not text.
    """
    for path in paths:
        if path.name.endswith(TEXTS):
            whole = text.read_exact(path)
            yield from BLANK_LINE.split(whole.strip()) if unit == "paragraphs" else [whole]
        elif path.suffix in tables.READERS:
            yield from tables.READERS[path.suffix](path, field)
        else:
            yield from _of_json_lines(path, field)


def identity(paths: list[Path]) -> list:
    """Hash and suffix of each file: its content and its format, but neither its name nor its time.

    Raises UsageError for a file that cannot be read.
    """
    # Cache names contain the suffix; .jsonl.gz has always been .gz there.
    suffixes = [".txt.gz" if path.name.endswith(".txt.gz") else path.suffix for path in paths]
    return list(zip(suffixes, content.hashes(paths), strict=True))


def _of_json_lines(path: Path, field: str) -> Iterator[str]:
    nulls = 0
    for where, record in text.json_lines(path):
        if field in record and record[field] is None:
            nulls += 1
        else:
            yield field_text(record, field, where)
    if nulls:
        message = f"{path}: lines with null for {field} left out: {nulls:,}"
        warnings.warn(message, LineageWarning, stacklevel=2)


def _explain_no_match(pattern: Path, folders: list[Path], scheme: str, suffixes: tuple[str, ...]) -> str:
    if folders:
        example = ".txt" if ".txt" in suffixes else suffixes[0]
        return f"a folder; expected files, such as {scheme}:{folders[0]}/*{example}"
    parent = pattern.parent
    if not parent.is_dir():
        return "no such file" if glob.has_magic(str(parent)) else f"there is no folder {parent}"
    names = [path.name for path in parent.iterdir() if path.name.endswith(suffixes)]
    return "no such file" + did_you_mean(pattern.name, difflib.get_close_matches(pattern.name, names))


def field_text(record: dict[str, Any], field: str, where: str, setting: str = "data.field") -> str:
    """A field's text. Raises UsageError, with the `setting` that names it, if there is none."""
    if field not in record:
        raise UsageError(f"{where}: no field {field!r} ({setting}); it has {', '.join(record) or 'none'}")
    value = record[field]
    if not isinstance(value, str):
        raise UsageError(f"{where}: field {field!r} is not a text but {json.dumps(value)[:40]}")
    try:
        value.encode()
    except UnicodeEncodeError as fault:  # JSON can escape an unpaired surrogate
        raise UsageError(f"{where}: \\u{ord(value[fault.start]):04x} is an unpaired surrogate") from fault
    return value
