"""The same on a real Slurm: a job array of workers, and a run of several processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from research.sweeping.status import sweep_status
from tests.sweeping.laws import check
from tests.sweeping.test_killed import DECLARED, TRIALS, small, steps_made
from tests.training.tiny import assignments, final_arrays, quickstart, timeless


def lineage(slurm, tmp_path, *typed: str) -> str:
    home = {"LINEAGE_HOME": str(tmp_path / "home"), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "launch", *typed],
        env=slurm.environment | home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for(reached, directory, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"nothing came of it: {logs(directory.parent)}"
        time.sleep(0.1)


def logs(directory) -> dict[str, str]:
    """What the jobs said; by `os.walk`, which does not mind checkpoints that come and go."""
    paths = (Path(folder, name) for folder, _, names in os.walk(directory) for name in names)
    return {path.name: path.read_text()[-2_000:] for path in paths if path.match("*slurm-*.log")}


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_sweep_whose_jobs_are_cancelled_and_requeued_ends_as_it_should(slurm, tmp_path):
    directory = tmp_path / "sweep"
    typed = ["sweep", "quickstart", *small(tmp_path), *DECLARED, "--dir", str(directory)]
    typed += ["--executor", "slurm", "--workers", "2", "--cpus", "1"]
    job = lineage(slurm, tmp_path, *typed).split()[1].rstrip(":")
    tasks = [f"{job}_0", f"{job}_1"]
    wait_for(lambda: steps_made(directory) > 5, directory)
    # As when its time is nearly up: it saves, and goes to the end of the queue.
    slurm.ask("scancel", "--batch", "--signal=USR1", tasks[0])
    wait_for(lambda: slurm.facts(tasks[0]).get("Restarts") == "1", directory)
    slurm.ask("scancel", tasks[1])  # for good: others take up what it leaves
    wait_for(lambda: slurm.facts(tasks[0])["JobState"] == "COMPLETED", directory)
    if not sweep_status(directory).over:  # what the second left when the first had nothing else to do
        again = lineage(slurm, tmp_path, *typed).split()[1].rstrip(":")
        for task in (f"{again}_0", f"{again}_1"):
            wait_for(lambda task=task: slurm.facts(task)["JobState"] == "COMPLETED", directory)
    known = check(directory, TRIALS)
    assert any(len(trial.user_attrs["attempts"]) > 1 for trial in known)
    assert {attempt["job"] for trial in known for attempt in trial.user_attrs["attempts"]} - {None}


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_stop_reaches_running_and_waiting_jobs(slurm, tmp_path):
    directory = tmp_path / "sweep"
    typed = ["sweep", "quickstart", *small(tmp_path), "run.steps=2000", *DECLARED, "--dir", str(directory)]
    job = lineage(slurm, tmp_path, *typed, "--executor", "slurm", "--workers", "3", "--cpus", "1")
    job = job.split()[1].rstrip(":")
    wait_for(lambda: steps_made(directory) > 2, directory)
    assert f"job {job}_2  pending" in lineage(slurm, tmp_path, "status", str(directory))
    assert "asked to stop" in lineage(slurm, tmp_path, "stop", str(directory))
    wait_for(lambda: not slurm.ask("squeue", "--noheader"), directory)
    counts = sweep_status(directory).counts
    assert counts["running"] == counts["failed"] == 0 and counts["stopped"] >= 1
    assert "2 stopped" in lineage(slurm, tmp_path, "status", str(directory)) or counts["stopped"] == 1


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_processes_under_srun_end_like_one(slurm, tmp_path):
    experiment = quickstart(
        tmp_path / "corpus.txt",
        model__dropout=0.0,
        optimizer__rate__peak=1e-3,
        parallel__compile="sharded",
        run__sample=0,
    )
    typed = ["train", "quickstart", *assignments(experiment), "--dir"]
    lineage(slurm, tmp_path, *typed, str(tmp_path / "one"))
    queued = lineage(slurm, tmp_path, *typed, str(tmp_path / "two"), "--executor", "slurm", "--tasks", "2")
    job = queued.split()[1].rstrip(";")
    wait_for(lambda: slurm.facts(job)["JobState"] in ("COMPLETED", "FAILED"), tmp_path / "two")
    log = (tmp_path / f"two.slurm-{job}.log").read_text()
    assert slurm.facts(job)["JobState"] == "COMPLETED", log
    one, two = timeless(tmp_path / "one"), timeless(tmp_path / "two")
    assert [(row["step"], row["split"]) for row in one] == [(row["step"], row["split"]) for row in two]
    np.testing.assert_allclose([row["loss"] for row in one], [row["loss"] for row in two], rtol=1e-5)
    expected = final_arrays(experiment, tmp_path / "one")
    for name, array in final_arrays(experiment, tmp_path / "two").items():
        if name.startswith("model/") and not name.endswith("qkv/bias"):  # whose part is rounding
            assert np.linalg.norm(array - expected[name]) <= 1e-5 * np.linalg.norm(expected[name]), name
    assert "finished  step 12/12" in lineage(slurm, tmp_path, "status", str(tmp_path / "two"))
