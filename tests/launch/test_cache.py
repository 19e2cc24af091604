"""What is kept under home: listed with its maker, removed when asked for, never while a process uses it."""

import json
import os
import subprocess
import sys
import time

import pytest

from research.io import home as homes
from research.io.cache import clear, entries
from research.io.make_once import make_once
from tests.training.tiny import assignments, quickstart

MAKE = """
import sys
from pathlib import Path
from research.io.make_once import make_once
make_once(Path(sys.argv[1]), lambda folder: (folder / "tokens.bin").write_bytes(b"12345"))
print("made", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LINEAGE_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    lock = homes._locks.pop(tmp_path / "home", None)
    if lock is not None:
        lock.release()


@pytest.fixture
def other(home):
    """A process that has made, and uses, `stores/used`."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAKE, str(home / "stores/used")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "made\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_what_a_process_uses_stays_until_it_ends(home, other, lineage):
    (entry,) = entries()
    whole = sum(file.stat().st_size for file in (home / "stores/used").iterdir())
    assert (entry.kind, entry.name, entry.size) == ("stores", "used", whole)
    assert whole > 5  # of tokens.bin, and of the sizes beside it
    assert str(other.pid) in entry.user and not clear(entry)
    status, out, _ = lineage("cache", "stores", "--clear")
    assert status == 1 and f"in use by process {other.pid}" in out and "removed 0 of 1" in out
    assert (home / "stores/used/tokens.bin").exists()
    other.kill()
    other.wait()
    (entry,) = entries()
    assert entry.user is None and clear(entry) and entries() == []
    assert list((home / "stores").iterdir()) == [], "a lock or a leftover"
    make_once(home / "stores/used", lambda folder: (folder / "tokens.bin").write_bytes(b"1"))
    assert (home / "stores/used/tokens.bin").read_bytes() == b"1", "it is made again"


def test_what_a_killed_process_left_is_listed_and_cleared_unless_another_makes_it(home, monkeypatch):
    (home / "stores/.mine.partial").mkdir(parents=True)
    (entry,) = entries()
    monkeypatch.setattr("research.io.cache.users", lambda: {"stores/mine": {}})
    assert not clear(entry) and entry.path.exists()
    monkeypatch.setattr("research.io.cache.users", dict)
    assert clear(entry) and entries() == []


def test_one_that_begins_to_use_it_meanwhile_keeps_it(home, monkeypatch):
    (home / "stores/mine").mkdir(parents=True)
    (entry,) = entries()
    answers = iter([{}, {"stores/mine": {}}])  # nobody at first, and then somebody
    monkeypatch.setattr("research.io.cache.users", lambda: next(answers))
    assert not clear(entry) and entry.path.exists()


def test_a_home_of_a_real_run_names_its_makers(home, lineage, tmp_path):
    experiment = quickstart(tmp_path / "corpus.txt")
    assert lineage("prepare", "quickstart", *assignments(experiment))[0] == 0
    (home / "tokenizers/gpt2").mkdir(parents=True)
    (home / "compiled").mkdir()
    (home / "compiled/old").write_bytes(b"1234567")
    os.utime(home / "compiled/old", (time.time() - 40 * 86_400,) * 2)
    status, out, _ = lineage("cache")
    assert status == 0 and out.startswith(str(home))
    assert out.count(f"files:{tmp_path / 'corpus.txt'}  bpe:300  in use by process {os.getpid()}") == 2
    assert "compiled: compiled programs, 1, 0.0 kB, last used 40 days ago" in out
    facts = json.loads(lineage("cache", "stores", "tokenizers-trained", "--json")[1])
    assert [fact["made"]["tokenizer"] for fact in facts] == ["bpe:300", "bpe:300"]
    assert json.loads(lineage("cache", "--name", "bpe:300", "--older", "1", "--json")[1]) == []

    status, out, _ = lineage("cache", "--clear", "--older", "30", "--dry-run")
    assert status == 0 and "would remove 1 of 1" in out and (home / "compiled/old").exists()
    status, out, _ = lineage("cache", "--clear", "--older", "30")
    assert status == 0 and "removed 1 of 1" in out and not (home / "compiled/old").exists()
    status, out, _ = lineage("cache", "--clear", "tokenizers", "--name", "gpt2")
    assert status == 0 and "removed 0 of 1" in out and (home / "tokenizers/gpt2").exists(), "a person's own"


@pytest.mark.parametrize(
    "typed, message",
    [
        (["--clear"], "expected kinds (stores"),
        (["store"], "did you mean stores"),
        (["--older", "-1"], "days from 0"),
    ],
)
def test_mistakes_are_one_line_and_status_2(home, lineage, typed, message):
    status, _, err = lineage("cache", *typed)
    assert status == 2 and message in err and err.count("\n") == 1


def test_a_home_that_cannot_be_written_is_used_without_a_mark(home, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(homes, "acquire", refuse)
    assert make_once(home / "stores/x", lambda folder: 3) == 3 and entries()[0].user is None


def test_files_that_cannot_be_seen_have_no_size(home):
    (home / "stores/x").mkdir(parents=True)
    (home / "stores/x/tokens.bin").write_bytes(b"12345")
    (home / "stores/x/loop").symlink_to("loop")
    assert [entry.size for entry in entries()] == [5]
