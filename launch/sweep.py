"""`lineage sweep`."""

from pathlib import Path
from typing import Annotated, NamedTuple

import experiments
from launch.declarations import print_sweep
from launch.options import (
    DryRun,
    Executor,
    Settings,
    SlurmResources,
    argument,
    at_least_one,
    on_slurm,
    option,
)
from launch.shell import completion
from launch.shell.notes import note
from launch.shell.remaining import Remaining
from launch.shell.starting import starting
from launch.status import print_best
from research.config import Experiment, Sweep
from research.config.settings import parse_assignments
from research.io.activity import activity, say
from research.sweeping.directory import is_sweep


class SweepOptions(NamedTuple):
    """Settings of the sweep itself; None: as declared."""

    trials: Annotated[int | None, option("N", "Number of points to try. Default: every point of a grid.")] = (
        None
    )
    seeds: Annotated[
        int | None, option("N", "Seeds of each point: run.seed, run.seed + 1 … Each is a trial. Default: 1.")
    ] = None
    together: Annotated[
        int | None, option("K", "Trials that a worker trains in one program, if they differ only in numbers.")
    ] = None
    hours: Annotated[float | None, option("H", "Start no trial after H hours of training in total.")] = None
    sampler: Annotated[
        str | None, option("NAME", "auto, grid, random, tpe, cmaes or qmc.", completion.of_sweep("sampler"))
    ] = None
    pruner: Annotated[
        str | None, option("NAME", "none, median, asha or hyperband.", completion.of_sweep("pruner"))
    ] = None
    metric: Annotated[str | None, option("NAME", "Validation metric to optimize. Default: loss.")] = None
    direction: Annotated[
        str | None,
        option(
            "NAME",
            "minimize or maximize. Default: as the metric's name says.",
            completion.of_sweep("direction"),
        ),
    ] = None


def sweep(
    name: Annotated[str, argument("NAME", "A sweep, or an experiment with --over.", completion.sweeps)],
    settings: Settings,
    *,
    dir: Annotated[
        Path | None,
        option("DIR", "Directory of the sweep. An existing sweep is continued. Default: runs/NAME."),
    ] = None,
    over: Annotated[
        list[str] | None,
        option(
            "SETTING=SPEC",
            "Values to try: a,b,c or LOW..HIGH, log:LOW..HIGH, int:LOW..HIGH[:STEP]. Repeatable.",
            completion.swept,
        ),
    ] = None,
    options: SweepOptions,
    storage: Annotated[
        str | None, option("URL", "sqlite or journal (both in DIR), journal:PATH, or a database URL.")
    ] = None,
    workers: Annotated[int, option("N", "Number of workers, each with its own devices.")] = 1,
    executor: Executor = "local",
    resources: SlurmResources,
    dry_run: DryRun = False,
) -> int:
    """Start a sweep in DIR, or continue the one there."""
    dir = dir or Path("runs") / name
    declaration, changes = _declaration(name), parse_assignments(settings.typed())
    slurm = on_slurm(executor, resources)
    if not slurm and not dry_run:  # of a Slurm job the first line is its number
        say(f"{name}: a sweep in {dir}")  # before JAX is imported
    decided: list[str] = []
    with activity("checking the sweep") as show:
        with starting():
            from research.sweeping.declare import check_metric, check_weights, declare_sweep
        declared = declare_sweep(declaration, over or [], changes, options._asdict(), decided.append)
        show(f"0 of {declared.budget} trials")
        if not is_sweep(dir):  # trials of one that goes on may no longer need them
            check_weights(declared)
        with starting():
            import jax
        jax.config.update("jax_platforms", "cpu")  # the GPUs are the workers'
        check_metric(declared)
    if not is_sweep(dir):
        _ = declared.chosen_direction  # raises for a metric of unknown direction
    for line in decided:
        (note if dry_run else say)(line)
    if slurm:
        return _start_slurm(dir, declared, storage, workers, resources, dry_run)
    return _start_local(dir, declared, storage, workers, dry_run)


def _declaration(name: str) -> Experiment | Sweep:
    return experiments.get(name) if name in experiments.names() else experiments.get_sweep(name)


def _start_local(directory: Path, sweep: Sweep, storage: str | None, workers: int, dry_run: bool) -> int:
    from launch.executors.local import run_workers
    from research.sweeping.device_slices import device_slices
    from research.sweeping.record import open_sweep
    from research.sweeping.reserve import supervise
    from research.sweeping.status import sweep_status

    slices = device_slices(workers)
    if dry_run:
        print_sweep(sweep)
        for number, slice in enumerate(slices):
            print(f"worker {number}   {', '.join(slice.names)}")
        return 0
    status = 0
    with activity("sweeping") as show:
        show(f"0 of {sweep.budget} trials")
        open_sweep(directory, sweep, storage)
        if not sweep_status(directory).over:
            with supervise(directory):
                status = run_workers(directory, slices, say, Remaining(directory, show).update)
    now = sweep_status(directory)
    print()
    print_best(directory, now)
    if now.common_failure:
        print(
            f"failed     all trials, before their first step: {now.common_failure}; change what this names, "
            f"and sweep again with another --dir, or delete {directory}"
        )
        return status or 1
    if failed := [trial for trial in now.trials if trial.state == "failed"]:
        print(f"failed     trial {failed[0].number}: {failed[0].reason}; its log: lineage status {directory}")
        status = status or 1
    if not now.over:
        print(f"repeat the command to continue; lineage status {directory} shows its progress")
    return status


def _start_slurm(
    directory: Path, sweep: Sweep, storage: str | None, workers: int, resources: SlurmResources, dry_run: bool
) -> int:
    from launch.executors.slurm import submit, workers_script
    from research.sweeping.record import open_sweep

    at_least_one(workers=workers)
    script = workers_script(directory, sweep.name, workers, resources)
    if dry_run:
        print(script, end="")
        return 0
    # SQLite is unsafe on the network file system that the nodes share.
    open_sweep(directory, sweep, storage, default="journal")
    (directory / "logs").mkdir(exist_ok=True)
    print(f"job {submit(script)}: {workers} workers; lineage status {directory} shows its progress")
    return 0
