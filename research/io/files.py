"""Atomic writing of files, and reading of records."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from research.errors import EnvironmentFault, UsageError


def expanded(path: Path | str) -> Path:
    """With the home directory for ~. `Path.expanduser` raises RuntimeError for ~x of an unknown user."""
    return Path(os.path.expanduser(path))


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes a file (text in UTF-8) atomically: a kill or a power loss leaves the old file or the new one."""
    with new_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file under a temporary name, which becomes `path` at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with catch_write_errors(path):
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())  # else a power loss may leave an empty file under the new name
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)


def read_record(directory: Path, file: str, kind: str) -> dict[str, Any]:
    """The JSON object in `file` of a run or a sweep (`kind`). Raises UsageError if there is none."""
    path = directory / file
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{directory}: not a {kind}, it has no {file}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    if not isinstance(record, dict):
        raise UsageError(f"{path}: not a {kind}'s record")
    return record


def as_utf8(text: str) -> str:
    """`text` as valid UTF-8, for libraries and pages that need it; file names may be invalid."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


@contextmanager
def catch_write_errors(path: Path) -> Iterator[None]:
    """Turns an OSError while `path` is written into an EnvironmentFault of one line."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be written: {error.strerror}") from error
