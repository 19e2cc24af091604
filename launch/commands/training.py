"""Runs."""

from pathlib import Path
from typing import Annotated

import typer

from launch.options import (
    AllowChange,
    Coordinator,
    Cpus,
    Distributed,
    DryRun,
    Executor,
    Gpus,
    Name,
    Overrides,
    Partition,
    Process,
    Processes,
    RunDirectory,
    Sbatch,
    Time,
)


def train(
    name: Name,
    dir: Annotated[Path, typer.Option(help="Where the run lives; one that is there is continued.")],
    overrides: Overrides = None,
    allow_change: AllowChange = False,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
    executor: Executor = "local",
    nodes: Annotated[int, typer.Option(help="Under Slurm.")] = 1,
    tasks: Annotated[int | None, typer.Option(help="Processes a node; by default one a GPU.")] = None,
    partition: Partition = None,
    time: Time = None,
    gpus: Gpus = None,
    cpus: Cpus = None,
    sbatch: Sbatch = None,
    dry_run: DryRun = False,
):
    """Start, or continue, the run in DIR."""
    from launch.options import slurm_resources
    from launch.train import join, queue_experiment, train_experiment

    if asked := slurm_resources(
        executor, partition, time, gpus, cpus, sbatch, nodes=nodes, tasks=tasks, dry_run=dry_run
    ):
        return queue_experiment(name, overrides, dir, allow_change, nodes, tasks, asked, dry_run)
    join(distributed, coordinator, processes, process)
    return train_experiment(name, overrides, dir, allow_change)


def resume(
    directory: RunDirectory,
    overrides: Overrides = None,
    allow_change: AllowChange = False,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
):
    """Continue a run from its own record, with settings changed where that is asked for."""
    from launch.train import join, resume_run

    join(distributed, coordinator, processes, process)
    return resume_run(directory, overrides, allow_change)
