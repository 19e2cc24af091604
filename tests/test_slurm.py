"""The cluster of the fixture is a real one."""

import pytest

pytestmark = pytest.mark.slow


def test_runs_two_tasks_and_reports_their_status(slurm):
    assert slurm.ask("srun", "-n2", "--immediate=60", "printenv", "SLURM_PROCID").split() in (
        ["0", "1"],
        ["1", "0"],
    )
    job = slurm.ask("sbatch", "--parsable", "--output=/dev/null", "--wrap=exit 3")
    assert slurm.wait(job, "FAILED", "COMPLETED")["ExitCode"] == "3:0"


def test_a_requeued_job_starts_again(slurm):
    output = slurm.folder / "%j.txt"
    script = '--wrap=echo "restart ${SLURM_RESTART_COUNT:-0}"; [ -n "$SLURM_RESTART_COUNT" ] || sleep 60'
    job = slurm.ask("sbatch", "--parsable", "--requeue", "--open-mode=append", f"--output={output}", script)
    slurm.wait(job, "RUNNING")
    slurm.ask("scontrol", "requeue", job)
    assert slurm.wait(job, "COMPLETED", "FAILED")["Restarts"] == "1"
    assert "restart 1" in (slurm.folder / f"{job}.txt").read_text()
