"""Atomic writing of files and directories, and reading of JSON files with one-line errors."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from research.errors import EnvironmentFault, LineageError, UsageError

URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)")  # a Path has one of its two slashes


def expanded(path: Path | str) -> Path:
    """With the home directory for ~. `Path.expanduser` raises RuntimeError for ~x of an unknown user.

    Raises UsageError for a URL, which would become a folder of that name.
    """
    if (match := URL.fullmatch(os.fspath(path))) and not os.path.exists(f"{match[1]}:"):
        raise UsageError(
            f"{match[1]}://{match[2]}: expected a path on this machine; run.mirror={match[1]}://{match[2]} "
            "keeps a copy of a run there, and fetches it into a new --dir"
        )
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


@contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """Yields a temporary sibling, which takes the name of `directory` at the end and is removed on an error.

    Raises UsageError if `directory` exists and is not empty, EnvironmentFault if it cannot be written.
    """
    directory = directory.absolute()
    check_absent(directory)
    folder = directory.with_name(f".{directory.name}.{os.getpid()}")
    with catch_write_errors(directory):
        try:
            folder.mkdir(parents=True)
            yield folder
            folder.rename(directory)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def check_absent(directory: Path) -> None:
    """Raises UsageError if writing `directory` would replace something."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory}: exists and is not overwritten; choose another")


def read_json(path: Path, kind: type) -> Any:
    """The JSON object (dict) or array (list) in a file; raises UsageError if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not JSON that can be read: {error}") from None
    if not isinstance(content, kind):
        raise UsageError(f"{path}: expected a JSON {'object' if kind is dict else 'array'}")
    return content


def read_record(directory: Path, file: str, kind: str) -> dict[str, Any]:
    """The JSON object in `file` of a run or a sweep (`kind`). Raises UsageError if there is none."""
    if not (directory / file).exists():
        raise UsageError(f"{directory}: not a {kind}, it has no {file}")
    return read_json(directory / file, dict)


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


@contextmanager
def catch_damage(path: Path | str) -> Iterator[None]:
    """Turns what a library raises for a missing or damaged file into a UsageError of one line."""
    try:
        yield
    except (LineageError, MemoryError):
        raise
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except Exception as fault:  # of many classes
        reason = " ".join(str(fault).split()) or type(fault).__name__
        raise UsageError(f"{path}: cannot be read, it may be cut off or damaged: {reason:.200}") from None
