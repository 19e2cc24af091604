"""The copy of a run elsewhere: whole whenever the copying stops, and of no other run."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import Mock

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from launch.__main__ import run as lineage
from research.errors import EnvironmentFault, UsageError
from research.io import remote
from research.io.files import expanded
from research.io.remote import connect
from research.runs.checkpoints import integrity
from research.runs.mirror import bringing, copying
from research.runs.mirror.contents import whole
from research.runs.mirror.copying import Mirror, Overtaken

URL = "memory://bucket/run"


@pytest.fixture(autouse=True)
def no_bucket():
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def run(tmp_path) -> Path:
    """The files of a run with checkpoints 10 and 20, and some that are not to be copied."""
    directory = tmp_path / "run"
    for step in (10, 20):
        checkpoint(directory, step)
    (directory / "experiment.json").write_text("{}")
    (directory / "metrics.jsonl").write_text('{"step": 20}\n')
    (directory / "profile").mkdir()
    (directory / "profile/trace.bin").write_bytes(b"\0" * 40)
    (directory / ".lock").write_text("held")
    (directory / "checkpoints/.hidden").write_text("unfinished")
    (directory / "damaged/5").mkdir(parents=True)
    (directory / "damaged/5/file").write_text("damaged")
    return directory


def checkpoint(directory: Path, step: int) -> None:
    folder = directory / f"checkpoints/{step}"
    (folder / "default/d").mkdir(parents=True)
    (folder / "default/d/array").write_text(f"numbers of {step}")
    (folder / "_CHECKPOINT_METADATA").write_text("{}")
    integrity.write_manifest(folder)


def copied() -> dict[str, bytes]:
    target = connect(URL)
    return {name: remote.read(target, name) for name in remote.sizes(target)}


def here(directory: Path) -> dict[str, bytes]:
    """What must be copied."""
    names = (path for path in directory.rglob("*") if path.is_file())
    found = {path.relative_to(directory).as_posix(): path.read_bytes() for path in names}
    kept = (name for name in found if not name.startswith(("damaged", ".")) and "/." not in name)
    return {name: found[name] for name in kept}


def test_the_copy_has_the_runs_files_and_follows_them(run, monkeypatch):
    mirror = Mirror(connect(URL), run)
    assert mirror.update() == 20
    assert len(here(run)) == 9 and copied() == here(run)

    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30}\n')
    shutil.rmtree(run / "checkpoints/10")
    checkpoint(run, 30)
    monkeypatch.setattr(copying, "LARGE", 30)  # large files are copied without being read into memory
    (run / "profile/trace.bin").write_bytes(b"1" * 41)
    assert mirror.update() == 30
    assert copied() == here(run) and whole(copied()) == {20, 30}

    for name in ("experiment.json", "checkpoints/30/default/d/array", "checkpoints/30/manifest.json"):
        remote.remove(connect(URL), name)
    mirror.update()  # what has gone there is copied again
    assert copied() == here(run)

    monkeypatch.setattr(remote, "sizes", None)  # nothing is new: nothing is asked
    assert mirror.update(look=False) == 30


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_the_copy_is_whole_wherever_it_stops(run, tmp_path, monkeypatch, place):
    """A kill after any number of operations leaves a copy whose rows reach its newest checkpoint."""
    target = connect(URL if place == "memory" else str(tmp_path / "copy"))
    Mirror(target, run).update()
    shutil.rmtree(run / "checkpoints/10")
    checkpoint(run, 30)
    (run / "metrics.jsonl").write_text('{"step": 30}\n')
    before = {name: remote.read(target, name) for name in remote.sizes(target)}

    class Killed(BaseException):
        pass

    stops = 0
    for allowed in range(100):
        left = iter(range(allowed))

        def counted(function, left=left):
            def call(*arguments, **named):
                if next(left, None) is None:
                    raise Killed
                return function(*arguments, **named)

            return call

        with monkeypatch.context() as patch:
            for name in ("pipe_file", "put_file", "rm_file", "rm", "cp_file"):
                if hasattr(type(target.system), name):
                    patch.setattr(type(target.system), name, counted(getattr(type(target.system), name)))
            patch.setattr(os, "replace", counted(os.replace))
            try:
                Mirror(target, run).update()
            except Killed:
                stops += 1
            else:
                break
        now = {name: remote.read(target, name) for name in remote.sizes(target)}
        newest = max(whole(now))
        folder = {name: text for name, text in now.items() if name.startswith(f"checkpoints/{newest}/")}
        assert len(folder) == 3 and folder[f"checkpoints/{newest}/default/d/array"].decode().endswith(
            str(newest)
        )
        assert json.loads(now["metrics.jsonl"])["step"] >= newest
        remote.remove(target, "")
        for name, content in before.items():
            remote.write(target, name, content)
    assert stops > 6
    assert whole(remote.sizes(target)) == {20, 30}


def test_a_checkpoint_that_goes_meanwhile_is_no_failure(run, monkeypatch):
    upload = remote.upload

    def removed_first(target, files):
        if any("/10/" in name for name in files):
            shutil.rmtree(run / "checkpoints/10")
        upload(target, files)

    monkeypatch.setattr(remote, "upload", removed_first)
    Mirror(connect(URL), run).update()
    assert whole(copied()) == {20}


def test_another_process_that_is_further_is_not_undone(run):
    mirror = Mirror(connect(URL), run)
    mirror.update()
    remote.write(connect(URL), "checkpoints/70/manifest.json", b"{}")
    (run / "metrics.jsonl").write_text("{}\n")
    line = r"memory://bucket/run: another process has copied step 70 of this run"
    with pytest.raises(Overtaken, match=line) as raised:
        mirror.update()
    assert raised.value.status == 75
    assert copied()["metrics.jsonl"] == b'{"step": 20}\n'


def test_two_runs_that_begin_at_once_do_not_mix(run):
    """Before the first checkpoint the copy is nobody's; then the run whose record was replaced ends."""
    first = Mirror(connect(URL), run)
    (run / "experiment.json").write_text('{"experiment": {"seed": 0}, "host": "a"}')
    first.update()
    remote.write(connect(URL), "experiment.json", b'{"experiment": {"seed": 0}, "host": "b"}')
    first.update()  # the same run on another machine: the later step decides
    remote.write(connect(URL), "experiment.json", b'{"experiment": {"seed": 1}, "host": "a"}')
    checkpoint(run, 30)
    with pytest.raises(Overtaken, match="run: another process has begun to copy another run to it"):
        first.update(look=False)
    assert whole(copied()) == {10, 20}


def test_an_interrupted_last_copy_is_said(run, monkeypatch):
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt), copying.mirrored(URL, run, lines.append):
        checkpoint(run, 30)
        monkeypatch.setattr(remote, "upload", Mock(side_effect=KeyboardInterrupt))
    assert lines == [f"{URL}: the copy is not complete; the same command completes it"]
    assert whole(copied()) == {10, 20}


def test_failures_are_said_once_and_so_is_their_end(run, monkeypatch):
    outcomes = iter([EnvironmentFault("gone"), EnvironmentFault("gone"), None, None])
    over, lines = threading.Event(), []

    class Flaky(Mirror):
        def update(self, look=True):
            if (outcome := next(outcomes, over)) is over:
                over.set()
            elif outcome:
                raise outcome
            return 0

    monkeypatch.setattr(copying, "EVERY", 0.001)
    copying._follow(Flaky(connect(URL), run), over, lines.append)
    assert lines == ["gone; training goes on, and the copy is tried again", f"{URL}: up to date again"]


WATCHED = """
import sys, threading
from pathlib import Path
from research.runs.mirror import copying

class Behind(copying.Mirror):
    def update(self, look):
        raise copying.Overtaken("URL: another process has copied step 70 of this run")

copying.EVERY = 0.01
copying._follow(Behind(copying.remote.connect("memory://x"), Path(".")), threading.Event(), print)
"""


def test_a_process_that_was_overtaken_ends():
    ended = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, timeout=120)
    line = "lineage: URL: another process has copied step 70 of this run; this one ends\n"
    assert (ended.returncode, ended.stderr) == (75, line)


def test_a_url_is_no_path(tmp_path, monkeypatch, capsys):
    """It would become a folder of that name, which goes with the machine."""
    monkeypatch.chdir(tmp_path)
    line = "gs://bucket/run: expected a path on this machine; run.mirror=gs://bucket/run keeps a copy"
    for path in ("gs://bucket/run", Path("gs://bucket/run")):
        with pytest.raises(UsageError, match=line):
            expanded(path)
    assert lineage(["train", "gpt2_tiny", "--dir", "gs://bucket/run"]) == 2
    assert lineage(["status", "gs://bucket/run"]) == 2
    assert lineage(["resume", "gs://bucket/run"]) == 2
    assert capsys.readouterr().err.count(line) == 3
    assert not list(tmp_path.iterdir())
    (tmp_path / "gs:").mkdir()
    assert expanded("gs:/bucket") == Path("gs:/bucket")  # it exists: a path after all


def test_what_is_there_and_no_run_stays(tmp_path, run):
    remote.write(connect(URL), "photo.jpg", b"1")
    with pytest.raises(UsageError, match=f"run.mirror={URL}: exists and is not a run"):
        bringing.bring(URL, tmp_path / "new", None, print, False)
    assert copied() == {"photo.jpg": b"1"} and not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("a text")
    with pytest.raises(UsageError, match="file: exists and is not a run; choose another"):
        bringing.bring(str(tmp_path / "file"), tmp_path / "new", None, print, False)
    with pytest.raises(UsageError, match=r"run.mirror=: expected a URL such as"):
        bringing.bring("", tmp_path / "new", None, print, False)
    remote.write(connect("memory://bucket/other"), "experiment.json", b"[]")
    remote.write(connect("memory://bucket/other"), "checkpoints/3/manifest.json", b"{}")
    with pytest.raises(UsageError, match=r"other: experiment.json: not a JSON object that can be read"):
        bringing.bring("memory://bucket/other", tmp_path / "new", None, print, False)
    for place in (run, run / "copy", run.parent):
        with pytest.raises(UsageError, match="expected a place apart from"):
            bringing.bring(str(place), run, None, print, False)
