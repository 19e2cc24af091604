"""`lineage stop`, of the processes and jobs of a run or a sweep."""

from pathlib import Path
from typing import Annotated

from launch.executors import slurm
from launch.options import argument


def stop(directory: Annotated[Path, argument("DIR", "Directory of a run or a sweep.")]) -> int:
    """Ask all processes of a run or a sweep to save and stop."""
    from research.sweeping.directory import is_sweep
    from research.sweeping.stop import ask_to_stop, processes_to_stop

    jobs = slurm.stop(directory)
    processes = processes_to_stop(directory, jobs_stopped=bool(jobs))
    for job in jobs:
        print(f"job {job}: asked to stop")
    elsewhere = 0
    for who in processes:
        if ask_to_stop(who):
            print(f"process {who['pid']}: asked to stop")
        else:
            elsewhere += 1
            print(f"process {who['pid']}: runs on {who['host']}; run lineage stop {directory} there")
    if not processes and not jobs:
        if not is_sweep(directory):
            from research.runs.record import read

            read(directory)  # raises if it is not a run
        print(f"{directory}: no process is running")
    return 1 if elsewhere else 0
