"""The process that holds a lock, as the lock's file names it, and whether it still lives.

A holder on this host lives as long as its process exists. One on another host counts as alive for `GRACE`
seconds after its last touch, by the clock of the file system.
"""

import json
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BEAT, GRACE = 10, 120  # seconds between touches; seconds after which a holder elsewhere counts as dead
POLL = 0.2  # seconds between looks at a lock that flock does not cover

Holder = dict[str, Any]  # {"host", "pid", "since": "2024-05-31 12:00:00", and the holder's own facts}


def holder(path: Path) -> Holder | None:
    """The process that holds the lock at `path`; None if no process does.

    It does not lock the file: others would mistake an observer's brief lock for a holder's.
    """
    who = read(path)
    return who if who and _lives(who, path) else None


def describe_holder(who: Holder | None) -> str:
    """'process 12 on node-3, since 2024-05-31 12:00:00', as error messages name a holder."""
    if who is None:  # it has just taken or released the lock
        return "another process"
    return f"process {who['pid']} on {who['host']}, since {who['since']}"


def content(facts: Mapping[str, Any]) -> str:
    """What a lock's file says of this process as its holder."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": since} | dict(facts)) + "\n"


def read(path: Path) -> Holder | None:
    """The process that a lock's file names, alive or not."""
    try:
        return {"since": "unknown"} | json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no such file, released, or being written
        return None


def beyond_flock(path: Path, enforced: bool, watch: bool) -> bool:
    """Whether a process holds the lock where flock does not reach: elsewhere, or here unless `enforced`.

    With `watch`, one on another host counts only if its heart beats.
    """
    who = read(path)
    if who is None:
        return False
    elsewhere = who["host"] != socket.gethostname()
    doubtful = (elsewhere or not enforced) and _lives(who, path)
    return doubtful and (not (elsewhere and watch) or _beats(path))


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
