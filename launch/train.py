"""`lineage train` and `lineage resume`."""

import time
from pathlib import Path
from typing import Annotated

from launch.declarations import declared, kept, resolve
from launch.options import (
    AllowChange,
    DryRun,
    Executor,
    Name,
    Overrides,
    Processes,
    Settings,
    SlurmResources,
    argument,
    at_least_one,
    on_slurm,
    option,
)
from launch.shell import completion
from launch.shell.finished import print_next, print_result
from launch.shell.notes import note
from launch.shell.starting import starting
from launch.status import format_reached
from research.config import Experiment
from research.config.settings import override, parse_assignments
from research.errors import UsageError
from research.io.activity import say
from research.io.files import expanded


def train(
    name: Name,
    settings: Settings,
    *,
    dir: Annotated[
        Path | None, option("DIR", "Directory of the run. An existing run is continued. Default: runs/NAME.")
    ] = None,
    allow_change: AllowChange = False,
    processes: Processes,
    executor: Executor = "local",
    nodes: Annotated[int, option("N", "Slurm: number of nodes.")] = 1,
    tasks: Annotated[int | None, option("N", "Slurm: processes per node. Default: one per GPU.")] = None,
    resources: SlurmResources,
    dry_run: DryRun = False,
) -> int:
    """Train an experiment in DIR, or continue the run there."""
    at_least_one(nodes=nodes, tasks=tasks)
    overrides = settings.typed()
    dir = dir or Path("runs") / name
    if executor == "local" and processes.first:
        _announce(declared(name, overrides), dir)
    from research.runs.record import FILE
    from research.runs.status import has_begun

    known = kept(dir, warn=False) if (dir / FILE).exists() and has_begun(dir) else None
    experiment = resolve(name, overrides, known, note if dry_run else say)
    if not on_slurm(executor, resources, nodes=nodes, tasks=tasks, dry_run=dry_run):
        processes.join()
        typed = [text for text in overrides if not text.startswith(("run.seed=", "run.mirror="))]
        again = ["lineage", "train", name, *typed, f"run.seed={experiment.run.seed + 1}", "--dir", f"{dir}-2"]
        return _train(experiment, dir, allow_change, (again, "the same with another seed"))
    from launch.executors.slurm import run_script, submit
    from research.config.imports.loading import options
    from research.runs.record import examine

    count = nodes * (tasks or resources.gpus or 1)
    if count > 1 and experiment.parallel.compile == "jit":
        raise UsageError(f"parallel.compile=jit: runs in one process, not {count}; expected sharded or pmap")
    typed = ["train", name, *overrides, "--dir", str(dir.absolute())]
    typed += ["--allow-change"] * allow_change + options()
    script = run_script(dir, name, typed, nodes, tasks, resources)
    if dry_run:
        print(script, end="")
        return 0
    examine(dir, experiment, allow_change=allow_change)  # refuses before the job waits in a queue
    print(f"job {submit(script)} is queued; lineage status {dir} shows its progress")
    return 0


def resume(
    run: Annotated[
        str, argument("DIR", "Directory of a run; with --dir also DIR:STEP.", completion.directories)
    ],
    overrides: Overrides = None,
    *,
    dir: Annotated[
        Path | None,
        option("DIR", "Directory of a new run, which branches off. Default: the run itself continues."),
    ] = None,
    allow_change: AllowChange = False,
    processes: Processes,
) -> int:
    """Continue a run, or a branch of it, with its recorded settings."""
    from research.runs.branch import branched
    from research.runs.status import split_step

    directory, step = split_step(run)
    directory = expanded(directory)
    if dir is None:
        if step is not None:
            raise UsageError(f"{run}: a run continues from its newest checkpoint; --dir DIR makes a branch")
        return _resume(directory, overrides, allow_change, processes)
    if any(processes):
        raise UsageError(f"--dir {dir}: one process makes a branch; then lineage resume {dir} continues it")
    with branched(directory, step, dir) as fresh:
        return _resume(dir, overrides, allow_change or fresh, processes)


def _resume(directory: Path, overrides: list[str] | None, allow_change: bool, processes: Processes) -> int:
    from research.runs.record import FILE, experiment_of

    changes = parse_assignments(overrides or [])
    if (url := changes.get("run.mirror", "none")) != "none" and not (directory / FILE).exists():
        from research.runs import mirror

        recorded = mirror.experiment_of(url)
    else:
        recorded = experiment_of(directory, warn=False)
    experiment = override(recorded, changes)
    if processes.first:
        _announce(experiment, directory)
    processes.join()
    longer = ["lineage", "resume", str(directory), f"run.steps={2 * experiment.run.steps}"]
    return _train(experiment, directory, allow_change, (longer, "train for more steps"))


def _announce(experiment: Experiment, directory: Path) -> None:
    """The first line of a run, printed before JAX is imported, which takes a second or two."""
    say(f"{experiment.name}: {experiment.run.steps:,} steps in {directory}")


def _train(experiment: Experiment, directory: Path, allow_change: bool, third: tuple[list[str], str]) -> int:
    """Trains and prints the result. `third` is the last command suggested at the end, with its purpose."""
    began = time.perf_counter()
    with starting():
        import jax

        from research.devices.startup import use_compilation_cache
        from research.devices.xla import reuse_step_memory
        from research.training.loop import train

    use_compilation_cache()
    reuse_step_memory()
    first = jax.process_index() == 0
    result = train(experiment, directory, say if first else lambda line: None, allow_change)
    status = 0 if result.finished or result.signal is None else 128 + result.signal
    if not first:
        return status
    if result.finished and result.validation:
        print_result(experiment, result.validation, result.baseline_loss)
        if result.reached:
            print(f"target            {format_reached(result.reached)}")
        elif experiment.run.target:
            print(f"target            {experiment.run.target} not reached")
        print(f"run               {directory}  ({time.perf_counter() - began:.0f} s)")
        command, purpose = third
        if result.reached and command[1] == "resume":  # another resume would end at once
            command = [*command, "run.stop_at=none"]
        print_next(experiment, directory, (command, purpose))
    else:
        say(f"\nstopped at step {result.step} of {experiment.run.steps}; saved in {directory}")
        say(f"to continue, repeat the command or run: lineage resume {directory}")
    return status
