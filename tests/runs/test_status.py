"""The status of a run, by the files that it leaves."""

import json

import pytest

from research.errors import UsageError
from research.runs.lock import locked
from research.runs.status import (
    find_checkpoint,
    newest_checkpoint,
    progress,
    run_state,
    run_status,
    split_step,
)


def row(step, split="train", **more):
    return {"step": step, "split": split, "loss": 5 - step / 100} | more


@pytest.fixture
def run(tmp_path):
    """Stopped after step 30 of 60, with an evaluation at 35 and checkpoints at 10 and 30."""
    rows = [row(step, seconds=step / 2, tokens_per_second=100.0) for step in (10, 20, 30)]
    rows.append(row(35, "validation"))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in (10, 30):
        (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
    (tmp_path / "checkpoints" / "40.orbax-checkpoint-tmp").mkdir()
    return tmp_path


def test_progress_is_that_of_the_rows(run):
    assert progress(run, 60) == (35, pytest.approx(4.7), 100.0, 15.0)
    (run / "metrics.jsonl").unlink()
    assert progress(run, 60) == (0, None, None, None)


def test_states(run):
    status = run_status(run, 60)
    assert (status.state, status.steps, status.step, status.worker) == ("stopped", 60, 35, None)
    assert status.seconds_left is None, "nobody works on it"
    assert run_status(run, 60, queued=True).state == "queued"
    assert run_status(run, 35, queued=True).state == run_state(run, True) == "finished"
    with locked(run, pytest.fail):
        status = run_status(run, 60, queued=True)
        assert status.state == run_state(run, False) == "running"
        assert status.worker and status.seconds_left == 15.0
    assert run_state(run, False) == "stopped"


def test_checkpoints_are_those_that_are_whole(run, tmp_path):
    assert newest_checkpoint(run) == find_checkpoint(run) == 30 and find_checkpoint(run, 10) == 10
    with pytest.raises(UsageError, match=r":40: no such checkpoint; there are 10, 30"):
        find_checkpoint(run, 40)
    assert newest_checkpoint(tmp_path / "none") == 0
    with pytest.raises(UsageError, match="has no checkpoint"):
        find_checkpoint(tmp_path / "none")


def test_a_target_names_a_step_unless_there_is_such_a_path(tmp_path):
    assert split_step(f"{tmp_path}:12") == (tmp_path, 12)
    assert split_step(str(tmp_path)) == (tmp_path, None)
    (tmp_path / "run:12").mkdir()
    assert split_step(f"{tmp_path}/run:12") == (tmp_path / "run:12", None)
