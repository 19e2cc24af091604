"""Sweeps, and who works on what."""

from pathlib import Path
from typing import Annotated

import typer

from launch.options import Cpus, DryRun, Executor, Gpus, Json, Overrides, Partition, Sbatch, Time

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A run's or a sweep's directory.")]


def sweep(
    name: Annotated[str, typer.Argument(help="A sweep, or an experiment with --over.")],
    dir: Annotated[Path, typer.Option(help="Where the sweep lives; one that is there is continued.")],
    overrides: Overrides = None,
    over: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=SPEC", help="a,b,c or LOW..HIGH, log:LOW..HIGH, int:LOW..HIGH[:STEP]."),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="In all; by default every point of lists.")] = None,
    hours: Annotated[float | None, typer.Option(help="Of all trials, after which none begins.")] = None,
    sampler: Annotated[str | None, typer.Option(help="auto, grid, random, tpe, cmaes or qmc.")] = None,
    pruner: Annotated[str | None, typer.Option(help="none, median, asha or hyperband.")] = None,
    metric: Annotated[str | None, typer.Option(help="Of the validation rows.")] = None,
    direction: Annotated[str | None, typer.Option(help="minimize or maximize.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="sqlite or journal (in DIR), journal:PATH, or a database's URL.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Each with its own share of the devices.")] = 1,
    executor: Executor = "local",
    partition: Partition = None,
    time: Time = None,
    gpus: Gpus = None,
    cpus: Cpus = None,
    sbatch: Sbatch = None,
    dry_run: DryRun = False,
):
    """Start, or continue, the sweep in DIR."""
    from launch.options import slurm_resources
    from launch.sweep import build, start_local, start_slurm

    changes = {
        "trials": trials,
        "hours": hours,
        "sampler": sampler,
        "pruner": pruner,
        "metric": metric,
        "direction": direction,
    }
    declared = build(name, over, overrides, changes)
    asked = slurm_resources(executor, partition, time, gpus, cpus, sbatch)
    if asked is None:
        return start_local(dir, declared, storage, workers, dry_run)
    return start_slurm(dir, declared, storage, workers, asked, dry_run)


def work(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A sweep's directory.")],
    gpus: Annotated[str | None, typer.Option(help="Which to use, such as 0,1; by default all.")] = None,
    cores: Annotated[str | None, typer.Option(help="Which to use instead, such as 0,1.")] = None,
    attached: Annotated[bool, typer.Option(hidden=True)] = False,
):
    """Join the sweep in DIR as one more worker, from this machine or another."""
    from launch.sweep import work_on

    return work_on(directory, gpus, cores, attached)


def status(directory: Directory, json: Json = False):
    """Queued, running, pruned, failed: how a run or a sweep stands."""
    from launch.status import show_status

    show_status(directory, json)


def stop(directory: Directory):
    """Ask all who work in DIR, here or under Slurm, to save and end."""
    from launch.status import stop_all

    return stop_all(directory)
