"""Directories that are built once: whole or not at all, by one process while others wait."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from research.errors import EnvironmentFault
from research.io.activity import activity
from research.io.home import use
from research.io.locks import exclusive

T = TypeVar("T")


def make_once(target: Path, build: Callable[[Path], T], *, resumable: bool = False) -> T | None:
    """Makes the directory `target` by `build(folder)` and returns its result; None if `target` exists.

    `folder` is a sibling that takes the target's name when `build` returns. A resumable build receives the
    folder of one that was killed. Raises EnvironmentFault where the disk is full or cannot be written.
    """
    use(target)  # before it is looked for, so that nobody removes it in between
    if target.exists():
        return None
    with build_lock(target):
        if target.exists():
            return None
        folder = target.with_name(f".{target.name}.partial")
        if not resumable:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        try:
            result = build(folder)
        except Exception:  # an interrupt, like a kill, leaves the folder to be continued
            shutil.rmtree(folder, ignore_errors=True)
            raise
        folder.rename(target)
    return result


@contextmanager
def build_lock(target: Path, setting: str = "LINEAGE_HOME") -> Iterator[None]:
    """Holds the lock that belongs to `target` while it is built; waits for another process that builds it.

    Turns an OSError into an EnvironmentFault that names `setting`, which moves the target elsewhere.
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
