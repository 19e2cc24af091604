"""A study in a file of the sweep's directory: an SQLite database, or Optuna's journal."""

import json
import mmap
import os
import sqlite3
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from research.io.files import catch_write_errors

WAIT = 60  # seconds for a database that another worker is writing


def open_sqlite(name: str, directory: Path) -> RDBStorage:
    """Opens study.db in `directory`, or the database of a URL; only for reading if it cannot be written."""
    if name != "sqlite":
        return RDBStorage(name, engine_kwargs={"connect_args": {"timeout": WAIT}})
    path = (directory / "study.db").absolute()
    if may_write(directory) and may_write(path):
        _use_write_ahead_log(path)
        connect = partial(sqlite3.connect, path, timeout=WAIT, check_same_thread=False)
    else:
        connect = partial(_connect_to_read, path)
    # By path, because ? and % have a meaning in URLs, which Optuna also treats as format strings.
    return RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})


def may_write(path: Path) -> bool:
    """Whether this process may write `path`, or it does not exist."""
    return os.access(path, os.W_OK) or not path.exists()


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Connects without writing. Files beside a database are of processes that use it, or were killed."""
    live = path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.as_uri()}?{'mode=ro' if live else 'immutable=1'}"
    return sqlite3.connect(uri, uri=True, timeout=WAIT, check_same_thread=False)


def _use_write_ahead_log(path: Path) -> None:
    """Keeps readers from blocking writers. The database stores this setting."""
    path.touch()  # SQLite would ignore a umask that lets a group write
    connection = sqlite3.connect(path, timeout=WAIT)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


class Journal(JournalFileBackend):
    """Optuna's journal, whose last line a full disk or a power loss may have cut.

    Optuna would append to such a line, and could not read the journal any more.
    """

    def __init__(self, path: Path):
        self._path, self._one = path, JournalFileSymlinkLock(str(path))
        super().__init__(str(path), self._one)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends one line for each of `logs`. Raises EnvironmentFault if the disk is full."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with catch_write_errors(self._path):
            self._one.acquire()
            try:
                with self._path.open("r+b") as file:
                    file.truncate(_end_of_lines(file.fileno()))
                    file.seek(0, os.SEEK_END)
                    file.write(lines.encode())
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                with suppress(RuntimeError):  # this process was suspended, and another took the lock
                    self._one.release()


def _end_of_lines(file: int) -> int:
    """Where the last complete line ends."""
    if not os.fstat(file).st_size:
        return 0
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as content:
        return content.rfind(b"\n") + 1
