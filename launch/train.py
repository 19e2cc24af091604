"""Training, and what is said when it ends."""

import time
from pathlib import Path

from launch.inspect import resolve
from research.config import Experiment
from research.errors import UsageError


def join(distributed: bool, coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Makes this process one of several, where that is asked for; before anything else touches a device."""
    by_hand = (coordinator, processes, process)
    if any(value is not None for value in by_hand):
        if any(value is None for value in by_hand):
            raise UsageError("--coordinator, --processes and --process: expected all three or none")
    elif not distributed:
        return
    from research.parallel import join_processes

    join_processes(*by_hand)


def train_experiment(name: str, overrides: list[str] | None, directory: Path) -> int:
    return _train(resolve(name, overrides), directory)


def resume_run(directory: Path) -> int:
    from research.training.record import experiment_of

    return _train(experiment_of(directory), directory)


def _train(experiment: Experiment, directory: Path) -> int:
    began = time.perf_counter()
    import jax

    from research.parallel import keep_compiled_programs
    from research.training.loop import train
    from research.training.progress import indented

    keep_compiled_programs()
    first = jax.process_index() == 0
    result = train(experiment, directory, report=print if first else lambda line: None)
    if not first:
        return 0 if result.signal is None else 128 + result.signal
    if result.signal:
        print(f"\nstopped at step {result.step} of {experiment.run.steps}; it is saved in {directory}")
        print(f"the same command continues it, and so does: lineage resume {directory}")
        return 128 + result.signal
    row = result.validation
    if row.get("sample"):
        print(f"\nsample\n  {indented(row['sample'])}")
    print(f"\nvalidation loss   {row['loss']:.4f} nats per target")
    print(f"unigram entropy   {result.unigram_entropy:.4f} nats per token, by frequencies alone")
    if "bits_per_byte" in row:
        print(f"bits per byte     {row['bits_per_byte']:.4f}")
    print(f"run               {directory}  ({time.perf_counter() - began:.0f} s)")
    return 0
