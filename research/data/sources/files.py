"""Texts in files: a text file or each of its paragraphs, a field of each record of other files."""

import difflib
import glob
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from research.data.sources import file_records, parquet, records
from research.data.sources.file_records import JSON, TABLES
from research.errors import LineageWarning, UsageError, did_you_mean
from research.io import content, text
from research.io.compression import KINDS, format_of

TEXTS = (".txt", ".md")  # one document, or one per paragraph
SUFFIXES = (*TEXTS, *JSON, *TABLES, ".parquet")  # all but the last also compressed
TOKENS = (".bin", ".npy")  # of the scheme tokens
PAIR = re.compile(r"(.*) \|\|\| (.*)")  # of a line of a .txt file, as in Google's extract_features.py
BLANK_LINE = re.compile(r"(?:\r\n|\n|\r(?!\n))\s*(?:\n|\r(?!\n))")


def match(pattern: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files that match a glob, sorted by name; ~ and ** expand. Raises UsageError if there are none.

    A pattern without matches is read literally if it names something that exists.
    """
    pattern = os.path.expanduser(pattern)
    matches = expand(pattern)
    paths = [path for path in matches if path.is_file()]
    for path in paths:
        if format_of(path) not in suffixes:
            hint = f"; did you mean {as_source(pattern)}?" if path.name.endswith(TOKENS) else ""
            raise UsageError(f"{path}: expected a file that ends in {_listed(suffixes)}{hint}")
    if not paths:
        scheme = "tokens" if suffixes == TOKENS else "files"
        reason = _explain_no_match(Path(pattern), matches, scheme, suffixes)
        raise UsageError(f"{scheme}:{pattern}: {reason}")
    return paths


def is_text(path: Path) -> bool:
    """Whether a file is one text, or one per paragraph or line."""
    return format_of(path) in TEXTS


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
    loops = {folder: _is_in_loop(folder) for folder in {os.path.dirname(match) for match in matches}}
    return sorted(Path(match) for match in matches if not loops[os.path.dirname(match)])


def _is_in_loop(folder: str) -> bool:
    """Whether a folder is reached through a link to one of those above it, as ** does 40 times."""
    above = Path(os.path.abspath(folder))
    real = [os.path.realpath(one) for one in (above, *above.parents)]
    return len({*real}) < len(real)


def read(paths: list[Path], field: str, unit: str) -> Iterator[str]:
    """Every document, in order. `unit` "paragraphs" splits text files at blank lines; "files" does not."""
    for path in paths:
        if is_text(path):
            whole = text.read_exact(path)
            yield from BLANK_LINE.split(whole.strip()) if unit == "paragraphs" else [whole]
        else:
            yield from column(path, field)


def column(path: Path, field: str) -> Iterator[str]:
    """The text of each record but nulls, which are counted in a LineageWarning for JSON lines."""
    nulls, table = 0, path.suffix == ".parquet"
    found = parquet.rows(path, field) if table else file_records.records(path, {field}, every_row=True)
    for where, record in found:
        if record.get(field, "") is None:
            nulls += 1
        else:
            yield records.text(record, field, where, "data.field")
    if nulls and not table:
        message = f"{path}: lines with null for {field} left out: {nulls:,}"
        warnings.warn(message, LineageWarning, stacklevel=2)


def texts(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The text or pair of each line, including empty lines, so that results keep line numbers.

    `fields` name the one or two columns of files that have any.
    """
    _check(path)
    if is_text(path):
        for _, line in text.lines(path):
            match = PAIR.fullmatch(line.strip())
            yield match.groups() if match else (line.strip(),)
        return
    for where, record in file_records.records(path, fields, every_row=True):
        yield tuple(records.text(record, field, where, "--field") for field in fields)


def with_columns(path: Path, field: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of a text file, as it is; each row's text, in the column `field`, with its other columns."""
    _check(path)
    if is_text(path):
        yield from ((line, {}) for _, line in text.lines(path))
        return
    for where, record in file_records.records(path, [field], every_row=True):
        others = {name: value for name, value in record.items() if name != field}
        yield records.text(record, field, where, "--field"), others


def _check(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if format_of(path) not in SUFFIXES:
        raise UsageError(f"{path}: expected a file that ends in {_listed(SUFFIXES)}")


def _listed(suffixes: Sequence[str]) -> str:
    """For a message: the suffixes, and those that compression adds."""
    compressed = "" if suffixes == TOKENS else f"; texts and tables also with {', '.join(KINDS)} after it"
    return f"{', '.join(suffixes)}{compressed}"


def identity(paths: list[Path]) -> list:
    """Hash and suffix of each file: its content and its format, but neither its name nor its time."""
    return list(zip(map(_suffix, paths), content.hashes(paths), strict=True))


def _suffix(path: Path) -> str:
    """The format and the compression, in the names of caches, where .jsonl.gz has always been .gz."""
    plain = format_of(path)
    return path.suffix if plain in JSON or path.suffix not in KINDS else f"{plain}{path.suffix}"


def _explain_no_match(pattern: Path, found: list[Path], scheme: str, suffixes: tuple[str, ...]) -> str:
    if any(path.is_dir() for path in found):
        example = ".txt" if ".txt" in suffixes else suffixes[0]
        return f"a folder; expected files, such as {scheme}:{found[0]}/*{example}"
    if any(path.exists() for path in found):
        return "a pipe or a device; expected a file, which is read more than once"
    if found:
        return "a link to a file that does not exist"
    joined = str(pattern).split("+")
    if len(joined) > 1 and all(format_of(one) in suffixes for one in joined):
        return f"no such file; did you mean {'+'.join(map(as_source, joined))}?"
    parent = pattern.parent
    if not parent.is_dir():
        return "no such file" if glob.has_magic(str(parent)) else f"there is no folder {parent}"
    names = [path.name for path in parent.iterdir() if format_of(path) in suffixes]
    return "no such file" + did_you_mean(pattern.name, difflib.get_close_matches(pattern.name, names))
