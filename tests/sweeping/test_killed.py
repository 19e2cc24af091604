"""A real sweep, by the commands that a user types, killed at random moments: it ends as it should."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from research.runs.lock import trainer
from research.sweeping.status import sweep_status
from tests.sweeping.laws import check
from tests.training.tiny import assignments, quickstart

TRIALS = 8
DECLARED = [
    *("--over", "optimizer.rate.peak=log:1e-4..1e-1", "--over", "optimizer.name=adamw,lion"),
    *("--trials", str(TRIALS), "--sampler", "tpe", "--pruner", "asha"),
]


def small(folder: Path) -> list[str]:
    """What to type for a run of ten steps, looked at every two."""
    experiment = quickstart(
        folder / "corpus.txt", run__steps=10, run__evaluate_every=2, run__checkpoint_every=2, run__sample=0
    )
    return assignments(experiment)


def start(directory: Path, *typed: str, **environment: str) -> subprocess.Popen:
    home = {"LINEAGE_HOME": str(directory.parent / "home"), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-m", "launch", *typed],
        env=os.environ | home | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(reached, process: subprocess.Popen, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, f"ended before: {process.communicate()[0]}"
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.02)


def steps_made(directory: Path) -> int:
    return sum(path.read_text().count('"train"') for path in directory.glob("trials/*/metrics.jsonl"))


def trainers(directory: Path) -> list[int]:
    """The processes that hold a run of the sweep."""
    held = (trainer(run) for run in directory.glob("trials/*"))
    return sorted({who["pid"] for who in held if who})


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_killed_workers_and_a_killed_sweep_leave_no_trace(tmp_path):
    directory, chance = tmp_path / "sweep", random.Random(0)
    typed = ["sweep", "quickstart", *small(tmp_path), *DECLARED, "--dir", str(directory), "--workers", "2"]

    keeper = start(directory, *typed)
    wait_for(lambda: len(trainers(directory)) == 2 and steps_made(directory) > chance.randint(2, 12), keeper)
    os.kill(chance.choice(trainers(directory)), signal.SIGKILL)
    before = steps_made(directory)
    wait_for(lambda: steps_made(directory) > before + chance.randint(4, 16), keeper)
    orphans = trainers(directory)
    keeper.kill()  # nobody is left to tell the workers; they find out
    assert "was killed by signal 9; another takes its place" in keeper.communicate(timeout=60)[0]
    deadline = time.monotonic() + 60
    while set(trainers(directory)) & set(orphans):
        assert time.monotonic() < deadline, "workers outlive the sweep"
        time.sleep(0.05)
    assert not sweep_status(directory).over

    keeper = start(directory, *typed)
    wait_for(lambda: trainers(directory), keeper)
    for pid in (dead := trainers(directory)):  # all at once, as when the machine goes down
        os.kill(pid, signal.SIGKILL)
    keeper.kill()
    keeper.communicate(timeout=60)

    keeper = start(directory, *typed)
    wait_for(lambda: set(trainers(directory)) - set(dead), keeper)
    keeper.send_signal(signal.SIGINT)
    output, _ = keeper.communicate(timeout=120)
    assert keeper.returncode == 128 + signal.SIGINT and "repeat the command to continue" in output

    keeper = start(directory, *typed)
    output, _ = keeper.communicate(timeout=300)
    assert keeper.returncode == 0, output
    known = check(directory, TRIALS)
    assert any(len(trial.user_attrs["attempts"]) > 1 for trial in known)

    again = start(directory, *typed)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and f"of {TRIALS}" in output
    assert check(directory, TRIALS) == known
