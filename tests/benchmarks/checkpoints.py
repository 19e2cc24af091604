"""What saving costs the training loop, and how long restoring takes.

    python -m tests.benchmarks.checkpoints --models gpt2_tiny gpt2_small

Blocking seconds are those for which `save` keeps the loop; the cost is what a save, the writing behind it
included, adds to the steps until the next one as the experiment declares it. Files are verified and restored
as after a restart of the machine: the system drops them from its page cache.
"""

import argparse
import json
import os
import statistics
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np

import experiments
from research.bench.synthetic import batches
from research.config import Experiment
from research.config.settings import override
from research.runs.checkpoints.integrity import latest_intact_step
from research.runs.checkpoints.store import Checkpoints
from research.runs.state import initial_state
from research.training.placement import compile_for

SAVES = 3
PAIRS = 8  # of turns with a save and without
STEPS = 20  # of a turn; the writing ends within it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["gpt2_tiny", "bert_tiny", "gpt2_small"])
    parser.add_argument("--folder", type=Path, help="where to write; a temporary directory if not given")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    heads = f"{'blocks, s':>11}{'on disk, s':>12}{'verify, s':>11}{'restore, s':>12}{'cost':>8}{'of CPU':>8}"
    print(f"{'model':<12}{'MB':>8}{heads}")
    for name in arguments.models:
        with TemporaryDirectory(dir=arguments.folder) as folder:
            row = measure(override(experiments.get(name), {"run.steps_per_call": 1}), Path(folder))
        rows.append({"model": name} | row)
        cost = "{:>8.2%}{:>8.2%}".format(*row["cost"]) if row["cost"] else f"{'–':>8}{'–':>8}"
        print(
            f"{name:<12}{row['megabytes']:>8.1f}{row['blocks']:>11.3f}{row['on_disk']:>12.2f}"
            f"{row['verify']:>11.2f}{row['restore']:>12.2f}{cost}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def measure(experiment: Experiment, folder: Path) -> dict:
    """Seconds, medians of SAVES; `cost` is what the steps between two saves take longer because of one."""
    abstract, program = compile_for(experiment)
    state = jax.jit(partial(initial_state, experiment), out_shardings=program.layout)()
    jax.block_until_ready(state)
    blocks, on_disk = [], []
    with Checkpoints(folder / "checkpoints", 1) as checkpoints:
        for step in range(1, SAVES + 1):
            began = time.perf_counter()
            checkpoints.save(step, state)
            blocks.append(time.perf_counter() - began)
            checkpoints.wait()
            on_disk.append(time.perf_counter() - began)
    del state
    forget(folder)
    began = time.perf_counter()
    step = latest_intact_step(folder / "checkpoints")
    verify = time.perf_counter() - began
    with Checkpoints(folder / "checkpoints", 1) as checkpoints:
        began = time.perf_counter()
        state = jax.block_until_ready(checkpoints.restore(step, abstract, program.layout))
        restore = time.perf_counter() - began
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract)) / 1e6
    return {
        "megabytes": size,
        "blocks": statistics.median(blocks),
        "on_disk": statistics.median(on_disk),
        "verify": verify,
        "restore": restore,
        "cost": cost(experiment, program, state, folder) if experiment.name.endswith("_tiny") else None,
    }


def forget(folder: Path) -> None:
    """Has the system drop what it keeps in memory of the files."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cost(experiment: Experiment, program, state, folder: Path) -> tuple[float, float]:
    """The share that a save adds to the steps until the next one: of wall time, of the processors'.

    The median of PAIRS turns with and without one, side by side: over all steps the noise is larger.
    """
    batch = next(batches(experiment))
    with Checkpoints(folder / "cost", 1) as checkpoints:

        def turn(save: int | None) -> np.ndarray:
            nonlocal state
            began = np.array([time.perf_counter(), time.process_time()])
            if save is not None:
                checkpoints.save(save, state)
            for _ in range(STEPS):
                state, sums = program.step(state, program.feed(batch))
            jax.block_until_ready(sums)
            checkpoints.wait()
            return np.array([time.perf_counter(), time.process_time()]) - began

        turn(None)  # compiles
        pairs = [(turn(n), turn(None)) for n in range(PAIRS)]
    added = np.median([saving - plain for saving, plain in pairs], axis=0)
    step = np.median([plain for _, plain in pairs], axis=0) / STEPS
    return tuple(added / (step * experiment.run.checkpoint_every))


if __name__ == "__main__":
    main()
