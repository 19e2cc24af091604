"""A branch continues from a checkpoint as the run did, under other settings if asked, beside the run."""

import json
import shutil

import numpy as np
import pytest

from research.config.settings import override
from research.errors import EnvironmentFault, UsageError
from research.runs.branch import branched
from research.runs.record import experiment_of, read
from research.training.loop import train
from tests.training.test_loop import assert_same_run
from tests.training.tiny import quickstart, timeless

CHANGED = {"optimizer.rate.name": "warmup_stable_decay", "optimizer.rate.cooldown": 0.5, "run.steps": 10}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A run with checkpoints at 4, 8 and 12, whose rate was changed at 8; (experiment, directory)."""
    folder = tmp_path_factory.mktemp("trunk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_HOME", str(folder / "home"))
        first = quickstart(folder / "text.txt", optimizer__rate__name="constant", run__steps=8, run__keep=9)
        train(first, folder / "run", print)
        changed = override(first, {"run.steps": 12, "optimizer.rate.peak": 1e-4})
        train(changed, folder / "run", print, allow_change=True)
        yield changed, folder / "run"


@pytest.fixture(autouse=True)
def home(trunk, monkeypatch):
    monkeypatch.setenv("LINEAGE_HOME", str(trunk[1].parent / "home"))


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def branch(run, step, directory, changes):
    with branched(run, step, directory) as fresh:
        experiment = override(experiment_of(directory), changes)
        return train(experiment, directory, lambda line: None, allow_change=fresh)


def test_a_branch_without_changes_is_the_run_bit_for_bit(trunk, tmp_path):
    experiment, run = trunk
    before = contents(run)
    assert branch(run, 8, tmp_path / "same", {"run.steps": 12, "optimizer.rate.peak": 1e-4}).finished
    assert_same_run(experiment, run, tmp_path / "same")
    assert contents(run) == before


@pytest.mark.slow
def test_a_branch_has_the_settings_of_its_step_and_records_its_own(trunk, tmp_path):
    _, run = trunk
    branch(run, 4, tmp_path / "cooldown", CHANGED)
    written = read(tmp_path / "cooldown")
    assert written["branch"] == {"run": str(run), "step": 4}
    assert written["experiment"]["optimizer"]["rate"]["peak"] == 3e-3  # changed at step 8 of the run
    (change,) = written["changes"]
    assert change["step"] == 4 and change["to"].items() >= CHANGED.items()
    trunk_rows, rows = timeless(run), timeless(tmp_path / "cooldown")
    assert [row for row in rows if row["step"] <= 4] == [row for row in trunk_rows if row["step"] <= 4]
    rates = {row["step"]: row["learning_rate"] for row in rows if row["split"] == "train"}
    assert rates[4] == rates[5] == np.float32(3e-3) and rates[9] < rates[6] and max(rates) == 10
    branch(tmp_path / "cooldown", None, tmp_path / "longer", {"run.steps": 12})
    assert read(tmp_path / "longer")["branch"] == {"run": str(tmp_path / "cooldown"), "step": 10}
    assert [change["step"] for change in read(tmp_path / "longer")["changes"]] == [4, 10]


@pytest.mark.slow
def test_the_same_command_continues_a_branch_and_another_is_refused(trunk, tmp_path):
    _, run = trunk
    with branched(run, 4, tmp_path / "branch") as fresh:
        assert fresh
        killed = contents(tmp_path / "branch")
    with branched(run, 4, tmp_path / "branch") as fresh:  # it has made no step: all changes are allowed
        assert fresh and contents(tmp_path / "branch") == killed
        train(override(experiment_of(tmp_path / "branch"), CHANGED), tmp_path / "branch", print, fresh)
    with branched(run, 4, tmp_path / "branch") as fresh:
        assert not fresh
    for other, step in ((run, 8), (tmp_path / "branch", 4)):
        with (
            pytest.raises(UsageError, match=r"exists and is not a branch of .*; choose another --dir"),
            branched(other, step, tmp_path / "branch"),
        ):
            pass
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not a branch"), branched(run, 4, tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_refused_branch_leaves_nothing_behind(trunk, tmp_path):
    _, run = trunk
    with pytest.raises(UsageError, match="not a state of this declaration"):
        branch(run, 4, tmp_path / "wide", {"model.width": 32})
    advice = rf"the run trained other parameters; expected start\.weights={run}:4 and another --dir"
    with pytest.raises(UsageError, match=advice):
        branch(run, 4, tmp_path / "frozen", {"optimizer.freeze": "embeddings"})
    with pytest.raises(UsageError, match=r"run:5: no such checkpoint; there are 4, 8, 12"):
        branch(run, 5, tmp_path / "none", {})
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    (damaged / "checkpoints" / "4" / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"it is damaged: manifest\.json is missing, .*:12 is there"):
        branch(damaged, 4, tmp_path / "none", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged"]


def test_a_full_disk_leaves_nothing_behind(trunk, tmp_path, monkeypatch):
    def full(source, target, *, follow_symlinks=True):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil.copytree, "__defaults__", (False, None, full, False, False))
    with pytest.raises(EnvironmentFault, match=r"branch: cannot be written: .*No space left") as raised:
        branch(trunk[1], 4, tmp_path / "branch", {})
    assert "\n" not in str(raised.value) and not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_as_typed(trunk, tmp_path, capsys):
    from launch.__main__ import run as typed

    _, run = trunk
    assert typed(["resume", f"{run}:8", "run.steps=9", "--dir", str(tmp_path / "b")]) == 0
    assert json.loads((tmp_path / "b" / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 9
    capsys.readouterr()
    assert typed(["resume", f"{run}:8"]) == 2
    assert "a run continues from its newest checkpoint; --dir DIR makes a branch" in capsys.readouterr().err
