"""Training, and what is said when it ends."""

import time
from pathlib import Path

from launch.executors.slurm import SlurmResources, run_script, submit
from launch.inspect import resolve
from research.config import Experiment
from research.config.imports import options
from research.config.settings import override, parse_assignments
from research.errors import UsageError


def join(distributed: bool, coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Makes this process one of several, where that is asked for; before anything else touches a device."""
    by_hand = (coordinator, processes, process)
    if any(value is not None for value in by_hand):
        if any(value is None for value in by_hand):
            raise UsageError("--coordinator, --processes and --process: expected all three or none")
    elif not distributed:
        return
    from research.devices.startup import join_processes

    join_processes(*by_hand)


def train_experiment(name: str, overrides: list[str] | None, directory: Path, allow_change: bool) -> int:
    return _train(resolve(name, overrides), directory, allow_change)


def queue_experiment(
    name: str,
    overrides: list[str] | None,
    directory: Path,
    allow_change: bool,
    nodes: int,
    tasks: int | None,
    slurm_resources: SlurmResources,
    dry_run: bool,
) -> int:
    """Hands the run to Slurm, once it is clear that its directory can be had."""
    from research.runs.record import examine

    experiment = resolve(name, overrides)
    processes = nodes * (tasks or slurm_resources.gpus or 1)
    if processes > 1 and experiment.parallel.compile == "jit":
        raise UsageError(f"parallel.compile=jit: one process, not {processes}; expected sharded or pmap")
    typed = ["train", name, *(overrides or []), "--dir", str(directory.absolute())]
    typed += ["--allow-change"] * allow_change + options()
    script = run_script(directory, name, typed, nodes, tasks, slurm_resources)
    if dry_run:
        print(script, end="")
        return 0
    examine(directory, experiment, allow_change=allow_change)
    print(f"job {submit(script)}; lineage status {directory} shows how it stands")
    return 0


def resume_run(directory: Path, overrides: list[str] | None, allow_change: bool) -> int:
    from research.runs.record import experiment_of

    experiment = override(experiment_of(directory, warn=False), parse_assignments(overrides or []))
    return _train(experiment, directory, allow_change)


def _train(experiment: Experiment, directory: Path, allow_change: bool) -> int:
    began = time.perf_counter()
    import jax

    from research.devices.startup import use_compilation_cache
    from research.devices.xla import reuse_step_memory
    from research.training.logging.progress import indented
    from research.training.loop import train

    use_compilation_cache()
    reuse_step_memory()
    first = jax.process_index() == 0
    result = train(experiment, directory, print if first else lambda line: None, allow_change)
    if not first:
        return 0 if result.finished else 128 + result.signal
    if not result.finished:
        print(f"\nstopped at step {result.step} of {experiment.run.steps}; it is saved in {directory}")
        print(f"the same command continues it, and so does: lineage resume {directory}")
        return 128 + result.signal
    row = result.validation
    if row.get("sample"):
        print(f"\nsample\n  {indented(row['sample'])}")
    if experiment.labelled:
        _tell_task(experiment, row, result.baseline_loss)
    else:
        print(f"\nvalidation loss   {row['loss']:.4f} nats per target")
        print(f"unigram entropy   {result.baseline_loss:.4f} nats per token, by frequencies alone")
    if "bits_per_byte" in row:
        print(f"bits per byte     {row['bits_per_byte']:.4f}")
    print(f"run               {directory}  ({time.perf_counter() - began:.0f} s)")
    return 0


def _tell_task(experiment: Experiment, row: dict, by_frequencies: float) -> None:
    unit = "squared error" if experiment.objective.name == "regression" else "nats"
    print(f"\nvalidation loss   {row.get('task_loss', row['loss']):.4f} {unit} per answer")
    print(f"known labels      {by_frequencies:.4f} {unit} per answer, by their frequencies alone")
    for metric in experiment.task.metrics:
        print(f"{metric.replace('_', ' '):<17} {row[metric]:.4f}")
