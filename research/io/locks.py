"""Locks between processes: an flock on a file that says who holds it, and a heartbeat for other hosts.

The operating system frees the lock when its holder dies. Some file systems keep locks local to one machine,
and some have none, so the holder also touches the file every `BEAT` seconds. On such a file system a holder
on another host counts as alive for `GRACE` seconds after its last touch, by the clock of the file system, and
one on this host as long as its process exists. A holder that was suspended for longer may find that another
process has taken its lock.
"""

import errno
import fcntl
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

BEAT, GRACE = 10, 120  # seconds
POLL = 0.2  # seconds between checks of a lock that flock does not cover
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}

Holder = dict[str, Any]  # {"host", "pid", "since": "2024-05-31 12:00:00", and the holder's own facts}


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
        while not self._released.wait(BEAT):
            try:
                found = self.path.read_bytes()
                if found != self._content.encode() and not self._released.is_set():
                    self.when_lost(_read(self.path))
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
        time.sleep(POLL)  # held where flock does not reach
    try:
        yield lock
    finally:
        lock.release()


def holder(path: Path) -> Holder | None:
    """The process that holds the lock at `path`; None if no process does.

    It does not lock the file: others would mistake an observer's brief lock for a holder's.
    """
    who = _read(path)
    return who if who and _lives(who, path) else None


def describe_holder(who: Holder | None) -> str:
    """'process 12 on node-3, since 2024-05-31 12:00:00', as error messages name a holder."""
    if who is None:  # it has just taken or released the lock
        return "another process"
    return f"process {who['pid']} on {who['host']}, since {who['since']}"


def _acquire(path: Path, facts: Mapping[str, Any], how: int, watch: bool) -> Lock | None:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
        try:
            enforced = _flock(file, how)
            if _is_current(path, file):
                return _accept(path, file, enforced, facts, watch)
        except BaseException:
            file.close()
            raise
        file.close()  # the holder removed it before we had its lock


def _accept(path: Path, file: IO[str], enforced: bool, facts: Mapping[str, Any], watch: bool) -> Lock | None:
    """The Lock on an open file, unless its content says that the lock is held where flock does not reach."""
    who = _read(path)
    elsewhere = who is not None and who["host"] != socket.gethostname()
    doubtful = who is not None and (elsewhere or not enforced) and _lives(who, path)
    if doubtful and (not (elsewhere and watch) or _beats(path)):
        file.close()
        return None
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    me = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
    file.truncate(0)
    file.write(content := json.dumps(me | dict(facts)) + "\n")
    file.flush()
    return Lock(path, file, content, enforced)


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


def _read(path: Path) -> Holder | None:
    try:
        return {"since": "unknown"} | json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no such file, released, or being written
        return None


def _lives(who: Holder, path: Path) -> bool:
    if who["host"] == socket.gethostname():
        return _is_running(who["pid"])
    age = time.time() - _touched(path)
    if not 0 <= age < GRACE:  # or the clocks differ
        age = _clock(path.parent) - _touched(path)
    return age < GRACE


def _clock(folder: Path) -> float:
    """The time by the clock that sets the times of files in `folder`; that of this machine may differ."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:  # not writable
        return time.time()


def _beats(path: Path) -> bool:
    """Whether the holder touches the file within three heartbeats."""
    before, deadline = _touched(path), time.monotonic() + 3 * BEAT
    while time.monotonic() < deadline:
        if _touched(path) != before:
            return True
        time.sleep(min(POLL, BEAT))
    return False


def _touched(path: Path) -> float:
    """When the file was last touched; 0 if it is not there. Opening it makes NFS ask its server."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return 0.0


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a dead process that its parent has not waited for still has a number
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:  # no such file system, or the process has just ended
        return True
