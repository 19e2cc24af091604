"""Runs."""

from pathlib import Path
from typing import Annotated

import typer

from launch.options import Coordinator, Distributed, Name, Overrides, Process, Processes, RunDirectory


def train(
    name: Name,
    dir: Annotated[Path, typer.Option(help="Where the run lives; one that is there is continued.")],
    overrides: Overrides = None,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
):
    """Start, or continue, the run in DIR."""
    from launch.train import join, train_experiment

    join(distributed, coordinator, processes, process)
    return train_experiment(name, overrides, dir)


def resume(
    directory: RunDirectory,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
):
    """Continue a run from its own record."""
    from launch.train import join, resume_run

    join(distributed, coordinator, processes, process)
    return resume_run(directory)
