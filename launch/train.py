"""Training, and what is said when it ends."""

import time
from pathlib import Path

from launch.inspect import resolve
from research.config import Experiment


def train_experiment(name: str, overrides: list[str] | None, directory: Path) -> int:
    return _train(resolve(name, overrides), directory)


def resume_run(directory: Path) -> int:
    from research.training.record import experiment_of

    return _train(experiment_of(directory), directory)


def _train(experiment: Experiment, directory: Path) -> int:
    began = time.perf_counter()
    from research.parallel import keep_compiled_programs
    from research.training.loop import train
    from research.training.progress import indented

    keep_compiled_programs()
    result = train(experiment, directory, report=print)
    if result.signal:
        print(f"\nstopped at step {result.step} of {experiment.run.steps}; it is saved in {directory}")
        print(f"the same command continues it, and so does: lineage resume {directory}")
        return 128 + result.signal
    row = result.validation
    if row.get("sample"):
        print(f"\nsample\n  {indented(row['sample'])}")
    print(f"\nvalidation loss   {row['loss']:.4f} nats per token")
    print(f"unigram entropy   {result.unigram_entropy:.4f} nats per token, by frequencies alone")
    print(f"bits per byte     {row['bits_per_byte']:.4f}")
    print(f"run               {directory}  ({time.perf_counter() - began:.0f} s)")
    return 0
