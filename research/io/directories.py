"""Atomic creation of directories, and reading of JSON files with one-line errors."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research.errors import UsageError
from research.io.files import catch_write_errors


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
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path}: not JSON that can be read: {error}") from None
    if not isinstance(content, kind):
        raise UsageError(f"{path}: expected a JSON {'object' if kind is dict else 'array'}")
    return content
