"""Reading of text files: UTF-8 in any locale, with or without a byte-order mark, plain or compressed.

Lines end at \\n, \\r\\n or \\r, and nowhere else: texts contain U+2028, U+0085 and form feeds, at which
str.splitlines would split.
"""

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research.errors import UsageError
from research.io import compression

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LINE_END = re.compile(r"\r\n|\n|\r")
LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text without its end) of each line.

    Raises UsageError for a file that cannot be read, is damaged, or, with the line, is not UTF-8;
    EnvironmentFault for a .zst file where no package reads it.
    """
    number = 0
    with opened(path) as file:
        for piece in file:  # up to \n
            if number == 0:
                piece = piece.removeprefix(BYTE_ORDER_MARK)
            for line in piece.removesuffix(b"\n").removesuffix(b"\r").split(b"\r"):
                number += 1
                yield number, _decoded(line, f"{path}:{number}")


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (file and line, object) for each line of JSON; blank lines are skipped.

    Raises UsageError as `lines` does, and for a line that is not an object.
    """
    for number, line in lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except ValueError as fault:
            raise UsageError(f"{where}: not a JSON object: {fault}") from fault
        if not isinstance(record, dict):
            raise UsageError(f"{where}: not a JSON object: {line[:40]!r}")
        yield where, record


def read_text(path: Path) -> str:
    """The whole text, with \\n at the end of each line. Raises UsageError as `lines` does."""
    return LINE_END.sub("\n", read_exact(path))


def read_exact(path: Path) -> str:
    """The whole text, with its own line ends. Raises UsageError as `lines` does."""
    with opened(path) as file:
        content = file.read().removeprefix(BYTE_ORDER_MARK)
    try:
        return content.decode()
    except UnicodeDecodeError as fault:
        line = len(LINE_END.findall(content[: fault.start].decode())) + 1
        return _decoded(content, f"{path}:{line}")


def read_json(path: Path) -> Any:
    """What a file of JSON holds. Raises UsageError as `lines` does, and for another file."""
    try:
        return json.loads(read_text(path))
    except ValueError as fault:
        raise UsageError(f"{path}: not JSON: {fault}") from fault


def split_lines(text: str, keep_ends: bool = False) -> list[str]:
    """The lines of `text`; a final line end does not begin another line."""
    found = LINE.findall(text)
    return found if keep_ends else [line.rstrip("\r\n") for line in found]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises UsageError if `path` cannot be read."""
    try:
        yield
    except OSError as fault:  # some libraries' messages have several lines
        reason = " ".join(str(fault.strerror or fault).split())
        raise UsageError(f"{path}: cannot be read: {reason}") from fault


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file, decompressed. Raises UsageError if it cannot be read or is damaged, and
    EnvironmentFault for a .zst file where no package reads it.
    """
    with reading(path):
        if path.suffix not in compression.KINDS:
            with open(path, "rb") as file:
                yield file
            return
        with compression.opened(path) as file:
            yield file


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as fault:
        raise UsageError(f"{where}: byte 0x{line[fault.start]:02x} is not UTF-8") from fault
