"""Who works on what: a file that its holder keeps locked, and touches as long as it lives.

The system frees the lock when its holder dies, however it dies. Where a file system keeps locks to one
machine, a holder on another is believed to live for `GRACE` seconds after its last touch.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research.io.files import catch_write_errors

BEAT, GRACE = 10, 120  # seconds


class Lease:
    """Held from `take` to `release`, or to the end of the process."""

    def __init__(self, file):
        self._file, self._released = file, threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def release(self) -> None:
        """Says that the holder has gone, so that nobody waits for its heart."""
        self._released.set()
        self._file.truncate(0)
        self._file.close()

    def _beat(self) -> None:
        while not self._released.wait(BEAT):
            try:
                os.utime(self._file.name)
            except OSError:  # its directory was removed; what is trained there will say so
                return


def take(path: Path, facts: Mapping[str, Any]) -> Lease | None:
    """The lease at `path`, with `facts` about its holder; None if another holds it."""
    with catch_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    told = _read(path)
    if told and told["host"] != socket.gethostname() and _fresh(path):
        file.close()
        return None
    file.truncate(0)
    file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()} | dict(facts)))
    file.flush()
    return Lease(file)


def holder(path: Path) -> dict[str, Any] | None:
    """What the one who holds `path` told of itself: host, pid and more; None if nobody does.

    Never locks, so that looking is not mistaken for working.
    """
    told = _read(path)
    if not told:
        return None
    alive = _runs(told["pid"]) if told["host"] == socket.gethostname() else _fresh(path)
    return told if alive else None


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One at a time; the others wait."""
    with catch_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):  # none, released, or being written
        return None


def _fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < GRACE
    except OSError:
        return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # one whose parent has not asked after it yet is dead too
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # no such file system, or it has just ended
        return True
