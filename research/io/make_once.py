"""Directories that are made once: whole or not at all, by one process while others wait."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from research.errors import EnvironmentFault

T = TypeVar("T")


def make_once(target: Path, build: Callable[[Path], T], *, resumable: bool = False) -> T | None:
    """Makes the directory `target` by `build(folder)`, whose result it returns; None where it was there.

    `folder` is a sibling that takes the target's name when `build` returns; a resumable build is given
    what a killed one has left in it. Raises EnvironmentFault where the disk is full or cannot be written.
    """
    if target.exists():
        return None
    with alone(target):
        if target.exists():
            return None
        folder = target.with_name(f".{target.name}.partial")
        if not resumable:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        try:
            result = build(folder)
        except Exception:  # an interrupt, as a kill, leaves what was done
            shutil.rmtree(folder, ignore_errors=True)
            raise
        folder.rename(target)
    return result


@contextmanager
def alone(target: Path, setting: str = "LINEAGE_HOME") -> Iterator[None]:
    """Holds the lock that belongs to `target`. The system frees it when a process dies.

    Raises EnvironmentFault where the disk is full or cannot be written; `setting` moves it.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.with_name(f".{target.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as fault:
        raise EnvironmentFault(
            f"{target.parent}: {fault.strerror or fault}; free space there, or set {setting} elsewhere"
        ) from fault
