"""Documents in files: a .txt or each of its paragraphs; each line or row of the other kinds."""

import difflib
import glob
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from research.data import content, tables
from research.errors import UsageError, near

SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".tsv", ".parquet")


def match(pattern: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files of a glob, in which ~ and ** expand, by name. Raises UsageError where there are none.

    A name that a glob would read otherwise is meant literally where it matches nothing and is there.
    """
    pattern = os.path.expanduser(pattern)
    found = expand(pattern)
    paths = [path for path in found if path.is_file()]
    for path in paths:
        if not path.name.endswith(suffixes):
            raise UsageError(f"{path}: expected a file that ends in {', '.join(suffixes)}")
    if not paths:
        raise UsageError(f"files:{pattern}: {_why_none(Path(pattern), found, suffixes)}")
    return paths


def expand(pattern: str) -> list[Path]:
    """What a glob matches, by name; if that is nothing, with the folders or the file it begins with literal.

    So a folder called [x] needs no escaping, unless a folder x has such files too.
    """
    if not (found := glob.glob(pattern, recursive=True)):
        there = next((path for path in (Path(pattern), *Path(pattern).parents) if path.exists()), Path())
        literal = os.path.join(glob.escape(str(there)), *Path(pattern).relative_to(there).parts)
        found = glob.glob(literal, recursive=True)
    return sorted(map(Path, found))


def read(paths: list[Path], field: str, unit: str) -> Iterator[str]:
    """Every document, in order; `unit` of .txt is "files" or "paragraphs", which blank lines part.

    Raises UsageError, with file and line, for what is no text.
    """
    for path in paths:
        try:
            if path.suffix == ".txt":
                whole = _whole(path)
                yield from re.split(r"\n\s*\n", whole.strip()) if unit == "paragraphs" else [whole]
            elif path.suffix in tables.READERS:
                yield from tables.READERS[path.suffix](path, field)
            else:
                yield from _lines(path, field)
        except OSError as fault:
            raise UsageError(f"{path}: cannot be read: {fault.strerror or fault}") from fault


def identity(paths: list[Path]) -> list:
    """What changes when the documents do: the bytes, and by the suffix how they are read; no name, no time.

    Raises UsageError for a file that cannot be read.
    """
    return [(path.suffix, digest) for path, digest in zip(paths, content.hashes(paths), strict=True)]


def _why_none(pattern: Path, folders: list[Path], suffixes: tuple[str, ...]) -> str:
    if folders:
        return f"a folder; expected files, such as files:{folders[0]}/*.txt"
    parent = pattern.parent
    if not parent.is_dir():
        return "no such file" if glob.has_magic(str(parent)) else f"there is no folder {parent}"
    names = [path.name for path in parent.iterdir() if path.name.endswith(suffixes)]
    return "no such file" + near(pattern.name, difflib.get_close_matches(pattern.name, names))


def _whole(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise UsageError(f"{path}:{line}: byte 0x{content[fault.start]:02x} is not UTF-8") from fault


def _lines(path: Path, field: str) -> Iterator[str]:
    number = 0
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _text(line, field, f"{path}:{number}")
        except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
            raise UsageError(f"{path}:{number + 1}: damaged gzip file: {fault}") from fault


def _text(line: bytes, field: str, where: str) -> str:
    try:
        record = json.loads(line)
    except UnicodeDecodeError as fault:
        raise UsageError(f"{where}: byte 0x{line[fault.start]:02x} is not UTF-8") from fault
    except ValueError as fault:
        raise UsageError(f"{where}: not a JSON object: {fault}") from fault
    if not isinstance(record, dict):
        raise UsageError(f"{where}: not a JSON object: {line[:40].decode()!r}")
    if field not in record:
        raise UsageError(f"{where}: no field {field!r} (data.field); it has {', '.join(record) or 'none'}")
    text = record[field]
    if not isinstance(text, str):
        raise UsageError(f"{where}: field {field!r} is not a text but {json.dumps(text)[:40]}")
    try:
        text.encode()
    except UnicodeEncodeError as fault:  # JSON can escape half a character
        raise UsageError(f"{where}: \\u{ord(text[fault.start]):04x} is half a character") from fault
    return text
