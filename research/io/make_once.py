"""Atomic directories that one process builds once while others wait."""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from research.errors import EnvironmentFault, LineageWarning
from research.io.activity import activity
from research.io.home import use
from research.io.locks import exclusive

T = TypeVar("T")

SIZES = "sizes.json"  # in each target: bytes of its files
PARTIAL = ".partial"  # .TARGET.partial is being made, or its process was killed


def make_once(target: Path, build: Callable[[Path], T], *, resumable: bool = False) -> T | None:
    """Makes the directory `target` by `build(folder)` and returns its result; None if `target` exists.

    A target with a truncated or missing file is made again, with a LineageWarning. `folder` is a sibling that
    gets the target's name when `build` returns. A resumable build receives the folder of one that was killed
    or filled the disk. Raises EnvironmentFault if the disk is full or not writable.
    """
    use(target)  # before looking for it, so that nobody removes it in between
    if target.exists() and not find_damage(target):
        return None
    with build_lock(target):
        if target.exists():
            if (damage := find_damage(target)) is None:
                return None
            warnings.warn(f"{damage}; made again", LineageWarning, stacklevel=2)
            aside = target.with_name(f".{target.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            target.rename(aside)  # at once, so that a kill leaves no half of it under its name
            shutil.rmtree(aside)
        folder = target.with_name(f".{target.name}{PARTIAL}")
        if not resumable:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        try:
            result = build(folder)
        except Exception as fault:  # an interrupt, like a kill, leaves the folder to be continued
            if not (resumable and isinstance(fault, OSError)):  # a full disk does, too
                shutil.rmtree(folder, ignore_errors=True)
            raise
        record_sizes(folder)
        folder.rename(target)
    return result


def record_sizes(folder: Path) -> None:
    """Writes the sizes of all files below `folder` to its sizes.json."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SIZES)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    new = folder / f".{SIZES}.{os.getpid()}"
    new.write_text(json.dumps(sizes, indent=1), encoding="utf-8")
    new.rename(folder / SIZES)


def find_damage(folder: Path) -> str | None:
    """Describes the first file that differs from its recorded size; None if there is none.

    Mapping an array that is shorter than expected ends the process with SIGBUS.
    """
    try:
        sizes = json.loads((folder / SIZES).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return f"{folder / SIZES}: damaged"
    for name, size in sizes.items():
        path = folder / name
        if not path.exists():
            return f"{path}: missing"
        if (found := path.stat().st_size) != size:
            return f"{path}: {found:,} bytes, expected {size:,}"
    return None


@contextmanager
def build_lock(target: Path, setting: str = "LINEAGE_HOME") -> Iterator[None]:
    """Holds the lock of `target` while building it; waits for another process that builds it.

    Turns an OSError into an EnvironmentFault that names `setting`, which can move the target elsewhere.
    """
    try:
        with ExitStack() as kept:
            with activity(f"waiting for the process that makes {target}"):
                kept.enter_context(exclusive(target.with_name(f".{target.name}.lock")))
            yield
    except OSError as fault:
        raise EnvironmentFault(
            f"{target.parent}: {fault.strerror or fault}; free space there, or set {setting} elsewhere"
        ) from fault
