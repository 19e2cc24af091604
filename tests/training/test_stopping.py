"""Several processes stop together when one is asked to, and go on as if they had not."""

import signal
import time
from pathlib import Path

import pytest

from research.config import Experiment
from tests.training.test_loop import assert_same_run
from tests.training.test_processes import launch, start
from tests.training.tiny import quickstart


def long_enough(source: Path) -> Experiment:
    """A run of two processes that can be caught in the middle."""
    return quickstart(
        source,
        run__steps=200,
        run__log_every=10,
        run__evaluate_every=100,
        run__checkpoint_every=0,
        parallel__compile="sharded",
    )


def await_step(directory, step: int, processes) -> None:
    """Until the run's rows show `step`."""
    lines, deadline = directory / "metrics.jsonl", time.monotonic() + 300
    while not (lines.exists() and f'"step": {step}, "split": "train"' in lines.read_text()):
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
        time.sleep(0.01)


@pytest.mark.slow
def test_one_signal_stops_both_and_they_end_like_undisturbed_ones(tmp_path):
    experiment = long_enough(tmp_path / "corpus.txt")
    launch(experiment, tmp_path / "undisturbed", 2, devices=2)
    run, reached = tmp_path / "run", 30
    for number, signalled in ((signal.SIGTERM, 1), (signal.SIGINT, 0)):
        processes = start(experiment, run, 2, devices=2)
        await_step(run, reached, processes)
        processes[signalled].send_signal(number)
        outputs = [process.communicate(timeout=300)[0] for process in processes]
        assert [process.returncode for process in processes] == [128 + signal.SIGTERM] * 2, outputs
        saved = max(int(path.name) for path in (run / "checkpoints").iterdir())
        assert f"stopped at step {saved} of 200" in outputs[0] and reached <= saved < 200
        reached = saved // 10 * 10 + 20
    launch(experiment, run, 2, devices=2)
    assert_same_run(experiment, tmp_path / "undisturbed", run)


@pytest.mark.slow
def test_where_the_first_may_not_enter_all_leave(tmp_path):
    experiment = quickstart(tmp_path / "corpus.txt", parallel__compile="sharded")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("not a run")
    processes = start(experiment, tmp_path / "run", 2, devices=2)
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], outputs
    assert all("exists and is not a run" in output for output in outputs)
