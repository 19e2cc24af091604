"""One process at a time in a run's directory.

The lock is the operating system's, on an open file: it ends with its process however that dies, so it cannot
go stale. What the file says is for the message alone.
"""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from research.errors import UsageError
from research.io.files import catch_write_errors

FILE = ".lock"
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def held(directory: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Keeps other processes out of `directory`, which is made if it is not there, and goes if nothing came.

    Raises UsageError naming the process that is in it. On a file system without locks it says so and goes on.
    """
    with catch_write_errors(directory):
        made = _make(directory)
        file = _taken(directory, report)
    try:
        yield
    finally:
        with suppress(OSError):  # gone, or not ours to clear away
            if all(path.name == FILE for path in directory.iterdir()):
                (directory / FILE).unlink()
                for path in made:
                    path.rmdir()
        file.close()


def _make(directory: Path) -> list[Path]:
    """Makes a directory; returns what had to be made, innermost first."""
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    return made


def _taken(directory: Path, report: Callable[[str], None]) -> IO[str]:
    path = directory / FILE
    while True:
        file = path.open("a+")
        try:
            _lock(file, directory, report)
            if path.exists() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                break
        except BaseException:
            file.close()
            raise
        file.close()  # of one who has just left and taken the file away
    file.truncate(0)
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}) + "\n")
    file.flush()
    return file


def _lock(file: IO[str], directory: Path, report: Callable[[str], None]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{directory}: {_holder(file)} is training in it") from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        report(f"{directory}: this file system has no locks; see that no other process trains in it")


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        who = json.loads(file.read())
        return f"process {who['pid']} on {who['host']}, since {who['since']},"
    except (ValueError, KeyError):  # it has only just taken the lock
        return "another process"
