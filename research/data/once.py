"""Directories that are made once: whole or not at all, by one process while others wait."""

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from research.errors import EnvironmentFault


def make_once(target: Path, build: Callable[[Path], None]) -> bool:
    """Makes the directory `target` by `build(folder)`; False where it was there already.

    `folder` is a sibling that takes the target's name when `build` returns.
    Raises EnvironmentFault where the disk is full or cannot be written.
    """
    if target.exists():
        return False
    with alone(target):
        if target.exists():
            return False
        for left in target.parent.glob(f".{target.name}.partial-*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
        try:
            build(folder)
            folder.chmod(0o755)  # mkdtemp's are private, caches may be shared
            folder.rename(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return True


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
