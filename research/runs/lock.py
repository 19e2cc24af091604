"""One process at a time in a run's directory."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from research.errors import UsageError
from research.io.files import catch_write_errors
from research.io.locks import Holder, Lock, acquire, describe_holder, holder

FILE = ".lock"
LOST = 75  # exit status EX_TEMPFAIL: the run can be continued, as another process does


@contextmanager
def locked(directory: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Locks `directory` against other processes. Creates it, and removes it if nothing was written there.

    Raises UsageError, naming the process that holds it. On a file system without locks, reports that and
    continues. If another process takes the directory while this one is suspended, this one ends.
    """
    with catch_write_errors(directory):
        created = _create(directory)
        lock = acquire(directory / FILE, watch=True)
    if lock is None:
        raise UsageError(f"{directory}: {describe_holder(trainer(directory))}, trains in it")
    lock.when_lost = partial(_end, directory)
    if not lock.enforced:
        report(f"{directory}: this file system has no locks; make sure that no other process trains in it")
    try:
        yield
    finally:
        _leave(directory, lock, created)


def trainer(directory: Path) -> Holder | None:
    """The process that trains in a run's directory; None if there is none."""
    return holder(directory / FILE)


def _create(directory: Path) -> list[Path]:
    """Creates a directory; returns it and those of its parents that were created, innermost first."""
    created = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    return created


def _end(directory: Path, who: Holder | None) -> None:
    """Ends this process at once: another one has continued the run."""
    line = f"{directory}: while this process was suspended, {describe_holder(who)}, continued the run"
    print(f"lineage: {line}", file=sys.stderr, flush=True)
    os._exit(LOST)


def _leave(directory: Path, lock: Lock, created: list[Path]) -> None:
    try:
        empty = all(path.name == FILE for path in directory.iterdir())
    except OSError:  # the directory is gone
        empty = False
    lock.release(remove=empty)
    with suppress(OSError):  # another process uses it
        for path in created if empty else ():
            path.rmdir()
