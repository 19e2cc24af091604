"""A run whose directory is lost goes on from its copy, and ends as if nothing had been."""

import shutil
import signal
import subprocess
import sys
import time

import pytest

from launch.__main__ import run as lineage
from research.config import Sweep, space
from research.config.settings import override
from research.errors import EnvironmentFault, UsageError
from research.io import remote
from research.runs import record
from research.runs.mirror.contents import small_files
from research.sweeping.declare import validate_sweep
from research.training.loop import train
from tests.training.test_loop import assert_same_run
from tests.training.tiny import assignments, quickstart


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nothing stopped, and its home; (experiment, directory)."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_HOME", str(folder / "home"))
        experiment = quickstart(folder / "corpus.txt")
        train(experiment, folder / "run", print)
    return experiment, folder / "run"


@pytest.fixture
def copied(straight, tmp_path, monkeypatch):
    """The same, stopped at step 6 and copied, whose directory is gone; (experiment, copy)."""
    experiment, finished = straight
    monkeypatch.setenv("LINEAGE_HOME", str(finished.parent / "home"))
    experiment, copy = override(experiment, {"run.mirror": str(tmp_path / "copy")}), tmp_path / "copy"
    result = train(experiment, tmp_path / "run", print, should_stop=lambda row: row["step"] == 6)
    assert result.step == 6
    assert {*small_files(copy)} == {*small_files(tmp_path / "run")} and (copy / "checkpoints/6").exists()
    shutil.rmtree(tmp_path / "run")
    return experiment, copy


def test_it_goes_on_in_a_new_directory(straight, copied, tmp_path):
    experiment, copy = copied
    lines = []
    (tmp_path / "new/.fetched/profile").mkdir(parents=True)  # a process was killed while it fetched
    train(experiment, tmp_path / "new", lines.append)
    assert not {"profile", ".fetched"} & {path.name for path in (tmp_path / "new").iterdir()}
    assert f"{copy}: fetched into {tmp_path / 'new'}, up to step 6" in lines
    assert "continuing from step 6 of 12" in lines
    assert_same_run(experiment, straight[1], tmp_path / "new")
    assert_same_run(experiment, straight[1], copy)


@pytest.mark.slow
def test_resume_fetches_the_copy_too(straight, copied, tmp_path, capsys):
    """With no name or setting of the experiment: the record has them."""
    experiment, copy = copied
    resume = ["resume", str(tmp_path / "new"), f"run.mirror={copy}"]
    assert lineage(resume) == 0 and f"{copy}: fetched into {tmp_path / 'new'}" in capsys.readouterr().out
    assert_same_run(experiment, straight[1], tmp_path / "new")
    shutil.rmtree(tmp_path / "new")
    assert lineage([*resume[:2], f"run.mirror={tmp_path / 'nothing'}"]) == 2
    assert "nothing: no run to continue, it has no whole checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_damaged_checkpoint_of_the_copy_is_left(straight, copied, tmp_path, monkeypatch):
    """The one before is used; one that only the network damaged is fetched again."""
    experiment, copy = copied
    array = next(path for path in (copy / "checkpoints/6/default/d").iterdir() if path.is_file())
    download, damaged = remote.download, []

    def damaging(source, names, folder):
        download(source, names, folder)
        if not damaged:
            damaged.append((folder / array.relative_to(copy)).write_bytes(b"damaged"))

    shutil.copytree(copy, tmp_path / "kept")
    with monkeypatch.context() as patch:
        patch.setattr(remote, "download", damaging)
        lines: list[str] = []
        train(experiment, tmp_path / "new", lines.append)
        assert "continuing from step 6 of 12" in lines and damaged
    shutil.rmtree(copy)
    (tmp_path / "kept").rename(copy)
    array.write_bytes(array.read_bytes() + b"1")
    lines.clear()
    train(experiment, tmp_path / "newer", lines.append)
    assert any(line.startswith(f"{copy}: checkpoint 6 is damaged: ") for line in lines)
    assert "continuing from step 4 of 12" in lines and (tmp_path / "newer/damaged/6").exists()
    assert_same_run(experiment, straight[1], tmp_path / "newer")
    assert_same_run(experiment, straight[1], copy)


def test_another_runs_copy_is_neither_fetched_nor_replaced(copied, tmp_path):
    experiment, copy = copied
    other = override(experiment, {"run.seed": 1})
    with pytest.raises(UsageError, match=r"copy: holds another run: run.seed was 0, now 1; choose another"):
        train(other, tmp_path / "new", print)
    train(override(other, {"run.mirror": None}), tmp_path / "other", print)
    before = record.read(tmp_path / "other")
    with pytest.raises(UsageError, match="holds another run"):
        train(other, tmp_path / "other", print)
    (copy / "checkpoints").rename(tmp_path / "kept")  # as before its first checkpoint
    with pytest.raises(UsageError, match="holds another run"):
        train(other, tmp_path / "new", print)
    (tmp_path / "kept").rename(copy / "checkpoints")
    assert not (tmp_path / "new").exists() and record.read(tmp_path / "other") == before
    assert (copy / "checkpoints/6").exists() and not (copy / "checkpoints/12").exists()


@pytest.mark.slow
def test_a_directory_that_is_behind_is_refused(copied, tmp_path):
    experiment, copy = copied
    shutil.copytree(copy, tmp_path / "behind")
    train(experiment, tmp_path / "new", print)
    with pytest.raises(UsageError, match=r"is at step 12 of this run, and .*behind at step 6; a new --dir"):
        train(experiment, tmp_path / "behind", print)
    assert (copy / "checkpoints/12").exists()


@pytest.mark.slow
def test_a_copy_that_fails_at_the_end_is_said_and_made_by_the_same_command(copied, tmp_path, monkeypatch):
    experiment, copy = copied
    with monkeypatch.context() as patch:
        upload = remote.upload

        def full(target, files):
            if any("/12/" in name for name in files):
                raise EnvironmentFault(f"{target.url}: cannot be reached (OSError: the disk is full)")
            upload(target, files)

        patch.setattr(remote, "upload", full)
        with pytest.raises(
            EnvironmentFault, match=r"disk is full.; the run is in .*new, the same command copies it"
        ):
            train(experiment, tmp_path / "new", print)
    assert not (copy / "checkpoints/12/manifest.json").exists()
    train(experiment, tmp_path / "new", print)
    assert_same_run(experiment, tmp_path / "new", copy)


@pytest.mark.slow
def test_a_branch_has_no_copy_and_a_sweep_needs_none(copied, tmp_path):
    experiment, copy = copied
    train(experiment, tmp_path / "new", print)
    assert lineage(["resume", str(tmp_path / "new"), "run.steps=16", "--dir", str(tmp_path / "branch")]) == 0
    assert record.experiment_of(tmp_path / "branch").run.mirror is None
    assert not (copy / "checkpoints/16").exists()
    with pytest.raises(UsageError, match=r"run\.mirror: copies one run, not a sweep's trials"):
        validate_sweep(Sweep(name="seeds", base=experiment, space=space.grid("run.seed", 0, 1)))


OFTEN = """
from launch.__main__ import main
from research.runs.mirror import copying
copying.EVERY = 0.0
main()
"""


@pytest.mark.slow
def test_kills_and_lost_directories_change_nothing(straight, tmp_path, monkeypatch):
    """Killed at any moment, also while it copies and fetches; every other time the directory is lost."""
    monkeypatch.setenv("LINEAGE_HOME", str(straight[1].parent / "home"))
    experiment, run = override(straight[0], {"run.checkpoint_every": 1}), tmp_path / "run"
    command = [sys.executable, "-c", OFTEN, "train", "quickstart", *assignments(experiment), "--dir"]
    subprocess.run([*command, tmp_path / "undisturbed"], check=True)
    command += [str(run), f"run.mirror={tmp_path / 'copy'}"]
    for turn in range(6):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while not list(run.glob("checkpoints/*/manifest.json")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.15 * turn)
        process.send_signal(signal.SIGKILL)
        output = process.communicate()[0]
        assert process.returncode in (0, -signal.SIGKILL), output
        if turn % 2:
            shutil.rmtree(run)
    subprocess.run(command, check=True)
    assert_same_run(experiment, tmp_path / "undisturbed", run)
    assert_same_run(experiment, tmp_path / "undisturbed", tmp_path / "copy")
