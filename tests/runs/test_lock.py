"""Two processes never train into one directory; one that is dead does not keep others out."""

import errno
import os
import subprocess
import sys

import pytest

from research.errors import UsageError
from research.runs import lock

HOLD = """
import sys
from pathlib import Path
from research.runs.lock import locked
with locked(Path(sys.argv[1]), print):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """A process that is in tmp_path/run."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_is_named_until_it_is_dead(other, tmp_path):
    with (
        pytest.raises(UsageError, match=rf"process {other.pid} on \S+, since .*, trains in it"),
        lock.locked(tmp_path / "run", pytest.fail),
    ):
        pytest.fail("two in it")
    other.kill()
    other.wait()
    assert (tmp_path / "run" / lock.FILE).exists()
    with lock.locked(tmp_path / "run", pytest.fail):
        assert f'"pid": {os.getpid()}' in (tmp_path / "run" / lock.FILE).read_text()


def test_nothing_is_left_where_nothing_came(tmp_path):
    with lock.locked(tmp_path / "a/b", pytest.fail):
        assert (tmp_path / "a/b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with lock.locked(tmp_path / "a/b", pytest.fail):
        (tmp_path / "a/b/experiment.json").write_text("{}")
    assert (tmp_path / "a/b/experiment.json").exists()


def test_without_locks_it_says_so_and_goes_on(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    reported = []
    with lock.locked(tmp_path, reported.append):
        assert "no locks" in reported[0]
