"""Documents in files: a .txt file or each of its paragraphs, each line or row of other files."""

import difflib
import glob
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from research.data.sources import tables
from research.errors import UsageError, did_you_mean
from research.io import content

SUFFIXES = (".txt", ".jsonl", ".jsonl.gz", ".tsv", ".parquet")


def match(pattern: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files that match a glob, sorted by name; ~ and ** expand. Raises UsageError where there are none.

    A pattern that matches nothing is read literally where it names something that exists.
    """
    pattern = os.path.expanduser(pattern)
    matches = expand(pattern)
    paths = [path for path in matches if path.is_file()]
    for path in paths:
        if not path.name.endswith(suffixes):
            raise UsageError(f"{path}: expected a file that ends in {', '.join(suffixes)}")
    if not paths:
        raise UsageError(f"files:{pattern}: {_explain_no_match(Path(pattern), matches, suffixes)}")
    return paths


def expand(pattern: str) -> list[Path]:
    """The matches of a glob, sorted by name.

    Without a match, the longest prefix of the pattern that exists is read literally. So a folder called [x]
    needs no escape, unless a folder x has such files too.
    """
    if not (matches := glob.glob(pattern, recursive=True)):
        prefix = next((path for path in (Path(pattern), *Path(pattern).parents) if path.exists()), Path())
        literal = os.path.join(glob.escape(str(prefix)), *Path(pattern).relative_to(prefix).parts)
        matches = glob.glob(literal, recursive=True)
    return sorted(map(Path, matches))


def read(paths: list[Path], field: str, unit: str) -> Iterator[str]:
    """Every document, in order. `unit` "paragraphs" splits .txt files at blank lines; "files" does not.

    Raises UsageError, with file and line, for content that is not text.
    """
    for path in paths:
        try:
            if path.suffix == ".txt":
                text = _decode(path)
                yield from re.split(r"\n\s*\n", text.strip()) if unit == "paragraphs" else [text]
            elif path.suffix in tables.READERS:
                yield from tables.READERS[path.suffix](path, field)
            else:
                yield from _lines(path, field)
        except OSError as fault:
            raise UsageError(f"{path}: cannot be read: {fault.strerror or fault}") from fault


def identity(paths: list[Path]) -> list:
    """Hash and suffix of each file: its content and its format, but neither its name nor its time.

    Raises UsageError for a file that cannot be read.
    """
    return [(path.suffix, digest) for path, digest in zip(paths, content.hashes(paths), strict=True)]


def _explain_no_match(pattern: Path, folders: list[Path], suffixes: tuple[str, ...]) -> str:
    if folders:
        return f"a folder; expected files, such as files:{folders[0]}/*.txt"
    parent = pattern.parent
    if not parent.is_dir():
        return "no such file" if glob.has_magic(str(parent)) else f"there is no folder {parent}"
    names = [path.name for path in parent.iterdir() if path.name.endswith(suffixes)]
    return "no such file" + did_you_mean(pattern.name, difflib.get_close_matches(pattern.name, names))


def _decode(path: Path) -> str:
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
