"""Two processes under a real Slurm, stopped in the middle: requeued, they end as if they had not been."""

import os
import sys
from pathlib import Path

import pytest

from tests.training.test_loop import assert_same_run
from tests.training.test_processes import launch
from tests.training.test_stopping import await_step, long_enough
from tests.training.tiny import assignments

# Slurm requeues by itself what it preempts; what it only warns, by --signal, asks for it by its exit status.
JOB = """#!/bin/bash
srun --ntasks=2 --overlap {python} -m launch train quickstart {settings} --dir {directory} --distributed
status=$?
[ $status = 143 ] && scontrol requeue $SLURM_JOB_ID
exit $status
"""


@pytest.mark.slow
def test_a_stopped_job_is_requeued_and_ends_the_same(slurm, tmp_path):
    experiment = long_enough(tmp_path / "corpus.txt")
    launch(experiment, tmp_path / "undisturbed", 2, devices=2)
    settings = " ".join(f"'{setting}'" for setting in assignments(experiment))
    script = JOB.format(python=sys.executable, settings=settings, directory=tmp_path / "run")
    (tmp_path / "job.sh").write_text(script)
    job = slurm.ask(
        *("sbatch", "--parsable", "--requeue", "--open-mode=append", "--signal=TERM@60", "--ntasks=2"),
        f"--chdir={Path(__file__).parents[2]}",
        f"--output={tmp_path}/output.txt",
        f"--export=ALL,JAX_NUM_CPU_DEVICES=1,LINEAGE_HOME={os.environ['LINEAGE_HOME']}",
        str(tmp_path / "job.sh"),
    )
    await_step(tmp_path / "run", 40, [])
    slurm.ask("scancel", "--signal=TERM", job)
    slurm.wait(job, "PENDING", timeout=300)
    (saved,) = (tmp_path / "run/checkpoints").iterdir()
    assert 40 <= int(saved.name) < 200
    facts = slurm.wait(job, "COMPLETED", "FAILED", timeout=300)
    output = (tmp_path / "output.txt").read_text()
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "1"), output
    assert f"continuing from step {saved.name} of 200" in output
    assert_same_run(experiment, tmp_path / "undisturbed", tmp_path / "run")
