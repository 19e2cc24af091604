"""Locks between processes: an flock on a file that says who holds it, and a heartbeat for other hosts.

The operating system frees the lock when its holder dies. Some file systems keep locks local to one machine,
and some have none, so the holder also touches the file every `BEAT` seconds, by which `holders` judges. One
that was suspended for longer than `GRACE` may find that another process has taken its lock.
"""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from research.io.locks import holders
from research.io.locks.holders import Holder

UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


class Lock:
    """A lock that this process holds until `release`, or until it ends."""

    def __init__(self, path: Path, file: IO[str], content: str, enforced: bool):
        self.path = path
        # False: the file system has no locks, and the file's content is all there is.
        self.enforced = enforced
        self.when_lost: Callable[[Holder | None], None] = lambda who: None  # called in a thread
        self._content, self._file, self._released = content, file, threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def release(self, remove: bool = False) -> None:
        """Frees the lock and clears the file, or removes it."""
        self._released.set()
        with self._file, suppress(OSError):  # its directory may be gone
            self._file.truncate(0)
            if remove:
                self.path.unlink()

    def _beat(self) -> None:
        while not self._released.wait(holders.BEAT):
            try:
                found = self.path.read_bytes()
                if found != self._content.encode() and not self._released.is_set():
                    self.when_lost(holders.read(self.path))
                    return
                os.utime(self.path)
            except OSError:  # the directory was removed; whoever works in it will notice
                return


def acquire(path: Path, facts: Mapping[str, Any] | None = None, watch: bool = False) -> Lock | None:
    """Takes the lock at `path`, and writes `facts` about its holder there; None if another process holds it.

    A dead process on another host looks alive for `GRACE` seconds. With `watch`, waits for three heartbeats
    to see whether it is. Raises OSError if the file cannot be written.
    """
    try:
        return _acquire(path, facts or {}, fcntl.LOCK_EX | fcntl.LOCK_NB, watch)
    except BlockingIOError:
        return None


@contextmanager
def exclusive(path: Path) -> Iterator[Lock]:
    """Holds the lock at `path`; waits while another process holds it. Raises OSError as `acquire` does."""
    while (lock := _acquire(path, {}, fcntl.LOCK_EX, watch=True)) is None:
        time.sleep(holders.POLL)  # held where flock does not reach
    try:
        yield lock
    finally:
        lock.release()


def _acquire(path: Path, facts: Mapping[str, Any], how: int, watch: bool) -> Lock | None:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
        try:
            enforced = _flock(file, how)
            if _is_current(path, file):
                if holders.beyond_flock(path, enforced, watch):
                    file.close()
                    return None
                file.truncate(0)
                file.write(content := holders.content(facts))
                file.flush()
                return Lock(path, file, content, enforced)
        except BaseException:
            file.close()
            raise
        file.close()  # the holder removed it before we had its lock


def _flock(file: IO[str], how: int) -> bool:
    """Whether the file system has locks; raises BlockingIOError if another process holds this one."""
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True


def _is_current(path: Path, file: IO[str]) -> bool:
    """Whether `path` still leads to the open file: a holder may have removed it before we locked it."""
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False
