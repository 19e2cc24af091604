"""Who holds a lock, and which holders are dead."""

import errno
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time

import pytest

from research.io import locks
from research.io.locks import holders

HERE = {"host": socket.gethostname(), "pid": os.getpid()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks" / "0001"


@pytest.fixture
def no_flock(monkeypatch):
    """A file system without locks."""

    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)


def held_elsewhere(path, host="elsewhere", pid=1):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"host": host, "pid": pid}))


def test_one_holder_at_a_time(path):
    lock = locks.acquire(path, {"devices": ["core 0"]})
    who = locks.holder(path)
    assert who.pop("since") and who == HERE | {"devices": ["core 0"]} and lock.enforced
    assert locks.acquire(path) is None
    lock.release()
    assert locks.holder(path) is None
    locks.acquire(path).release()


def test_a_removed_file_is_made_again(path):
    first = locks.acquire(path)
    first.release(remove=True)
    assert not path.exists()
    second = locks.acquire(path)
    assert locks.holder(path) and locks.acquire(path) is None
    second.release()


def test_a_process_that_waits_gets_the_lock_of_the_new_file(path):
    """Its holder removes the file between the other's opening and locking it."""
    first, got = locks.acquire(path), threading.Event()

    def wait():
        with locks.exclusive(path):
            assert locks.holder(path)
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    assert not got.is_set()
    first.release(remove=True)
    assert got.wait(10)
    thread.join()


def test_the_dead_hold_nothing(path):
    code = "import os; from pathlib import Path; from research.io import locks;"
    code += f"lock = locks.acquire(Path({str(path)!r})); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert json.loads(path.read_text())["pid"] and locks.holder(path) is None
    locks.acquire(path).release()


def test_exclusive_waits(tmp_path):
    """Four processes add to a number ten times each; no addition is lost."""
    number, code = (
        tmp_path / "number",
        (
            "import sys, time; from pathlib import Path; from research.io.locks import exclusive\n"
            "folder = Path(sys.argv[1])\n"
            "for _ in range(10):\n"
            "    with exclusive(folder / 'lock'):\n"
            "        value = int((folder / 'number').read_text()); time.sleep(0.002)\n"
            "        (folder / 'number').write_text(str(value + 1))\n"
        ),
    )
    number.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert number.read_text() == "40"


def test_a_holder_elsewhere_lives_as_long_as_its_heart_beats(path):
    """Where locks stay on one machine, the last touch is all that is known."""
    held_elsewhere(path)
    assert locks.holder(path)["host"] == "elsewhere" and locks.acquire(path) is None
    long_ago = time.time() - holders.GRACE - 1
    os.utime(path, (long_ago, long_ago))
    assert locks.holder(path) is None
    locks.acquire(path).release()


@pytest.mark.parametrize("alive", [True, False])
def test_watching_tells_a_dead_holder_elsewhere(path, monkeypatch, alive):
    monkeypatch.setattr(holders, "BEAT", 0.2)
    monkeypatch.setattr(holders, "POLL", 0.01)
    held_elsewhere(path)
    beat = threading.Timer(0.1, os.utime, (path, (time.time() - 5, time.time() - 5)))
    if alive:
        beat.start()
    lock = locks.acquire(path, watch=True)
    assert (lock is None) == alive
    if lock:
        lock.release()


def test_a_heart_beats(path, monkeypatch):
    monkeypatch.setattr(holders, "BEAT", 0.01)
    lock = locks.acquire(path)
    os.utime(path, (1, 1))
    deadline = time.monotonic() + 10
    while path.stat().st_mtime < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    lock.release()


def test_without_locks_the_file_is_believed(path, no_flock):
    lock = locks.acquire(path)
    assert not lock.enforced and locks.acquire(path) is None
    lock.release()
    held_elsewhere(path, socket.gethostname(), pid=2**22 + 1)  # above the largest process number
    with locks.exclusive(path) as lock:
        assert not lock.enforced and locks.holder(path)["pid"] == os.getpid()


def test_a_clock_that_is_wrong_kills_no_holder_elsewhere(path, monkeypatch):
    """Machines that share a file system may disagree about the time; its clock sets the times of files."""
    held_elsewhere(path)
    right = time.time()
    monkeypatch.setattr("time.time", lambda: right + 3_600)
    assert locks.holder(path)["host"] == "elsewhere" and locks.acquire(path) is None


@pytest.mark.parametrize("ended", [False, True])
def test_a_holder_learns_that_it_has_lost_the_lock(path, monkeypatch, ended):
    """It was suspended for so long that a process of another machine took it, and may have ended since."""
    monkeypatch.setattr(holders, "BEAT", 0.05)
    lock, lost = locks.acquire(path), queue.Queue()
    lock.when_lost = lost.put
    time.sleep(0.2)
    assert lost.empty()
    new = path.with_name("new")  # so that no half of it is read
    new.write_text("" if ended else json.dumps({"host": "elsewhere", "pid": 1}))
    new.rename(path)
    who = lost.get(timeout=10)
    assert who is None if ended else who["host"] == "elsewhere"
    lock.release()
