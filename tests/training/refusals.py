"""A finished run, faults that befall it, and a command that is refused and so changes no byte of it."""

import json
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from launch.__main__ import run
from research.devices import startup
from research.errors import EnvironmentFault
from research.runs import lock, record
from research.runs.checkpoints import integrity
from research.sweeping.directory import LOCKS
from tests.training.tiny import assignments, quickstart


class Made(NamedTuple):
    """A finished run with checkpoints at steps 2 and 4, by the command line."""

    directory: Path
    source: Path  # of its text
    typed: list[str]  # after `lineage train quickstart`


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    settings = {"run__steps": 4, "run__checkpoint_every": 2, "run__evaluate_every": 4, "run__sample": 0}
    typed = assignments(quickstart(folder / "corpus.txt", **settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_HOME", str(folder / "home"))
        patch.setattr(startup, "use_compilation_cache", lambda: None)  # the tests have their own place
        assert run(["train", "quickstart", *typed, "--dir", str(folder / "run")]) == 0
    return Made(folder / "run", folder / "corpus.txt", typed)


@pytest.fixture
def made(finished, tmp_path, monkeypatch):
    """A copy that a test may damage; beside it what commands name: `text.txt`, and folders to write to."""
    monkeypatch.setenv("LINEAGE_HOME", str(finished.directory.parent / "home"))
    monkeypatch.setattr(startup, "use_compilation_cache", lambda: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.txt").write_text(
        "".join(f"{n} bottles of another sort, {n % 7}.\n" for n in range(900))
    )
    (tmp_path / "short.txt").write_text("to be or not to be, " * 2)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/thesis.tex").write_text("years of work")
    return finished._replace(directory=shutil.copytree(finished.directory, tmp_path / "run"))


def everything(folder: Path) -> dict[str, tuple | None]:
    """{name: (bytes, when they were written)} of all files but the locks, None for a folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.name != lock.FILE and LOCKS not in path.parts
    }


def refused(arguments, capsys) -> str:
    """What a command says that is refused, in one line and without a trace beside it."""
    folder = Path.cwd()
    before = everything(folder)
    status = run([str(argument) for argument in arguments])
    message = capsys.readouterr().err
    after = everything(folder)
    assert status in (1, 2) and message.count("\n") == 1, message
    assert after.keys() == before.keys(), message
    assert [name for name in after if after[name] != before[name]] == [], message
    return message


@contextmanager
def other_text(made, patch):
    text = made.source.read_text()
    made.source.write_text(text.replace("green", "brown"))
    try:
        yield
    finally:
        made.source.write_text(text)


def another_process(made, patch):
    return lock.locked(made.directory, print)


def a_full_disk(made, patch):
    usage = shutil.disk_usage(made.directory)
    patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000))


def no_wandb(made, patch):
    patch.setitem(sys.modules, "wandb", None)


def later_format(made, patch):
    rewrite(made.directory / "checkpoints/4" / integrity.FILE, lambda manifest: manifest | {"format": 3})


def later_record(made, patch):
    rewrite(
        made.directory / record.FILE, lambda kept: kept | {"experiment": kept["experiment"] | {"format": 7}}
    )


def torn_record(made, patch):
    (made.directory / record.FILE).write_text('{"experiment": {')


def renamed_checkpoint(made, patch):
    (made.directory / "checkpoints/4").rename(made.directory / "checkpoints/5")


def no_record(made, patch):
    (made.directory / record.FILE).unlink()


def no_memory(made, patch):
    def restore(*arguments):
        raise MemoryError("RESOURCE_EXHAUSTED")

    patch.setattr("research.training.first_state.restore", restore)


def no_room_for_the_record(made, patch):
    (made.directory / "checkpoints/4" / integrity.FILE).unlink()

    def write_atomic(path, text):
        raise EnvironmentFault(f"{path}: cannot be written: No space left on device")

    patch.setattr(record, "write_atomic", write_atomic)


def rewrite(path, change):
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
