"""What training adds to the bare step: `python -m tests.benchmarks.loop [SIZE] [--turns N] [--json PATH]`.

One process trains as `lineage train` does (data read and made into batches, metrics, TensorBoard, progress,
checkpoints), and after every few steps makes as many bare ones of the same compiled program, on a state of
its own and a batch that lies ready. A save falls into every third turn of the loop; its
cost, that of writing in the background included, is given for one save every five minutes.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import jax

from research.bench.measure import start
from research.config import Experiment
from research.config.settings import override
from research.devices.xla import reuse_step_memory
from research.training import loop, preparation
from tests.benchmarks.sizes import SIZES, declared

STEPS = 5  # a turn
AFTER = 2  # steps that are made between two turns after a row or a save, so that its writing is in the turn
SAVING = 3  # turns of the loop from one with a save to the next
MINUTES = 5
DATA = {"data.source": "tfds:python_docs", "data.split": "published"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", nargs="?", default="G", choices=SIZES)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    reuse_step_memory()
    found = measure(experiment(arguments.size, arguments.turns))
    print(f"{SIZES[arguments.size][2]}: medians of {len(found['bare'])} turns of {STEPS} steps")
    for name in ("bare", "trained", "saving"):
        print(f"{name:<10}{statistics.median(found[name]):>10.4f} s a step")
    print(f"the loop adds {found['added']:.2%}, a save every {MINUTES} minutes {found['added_by_saves']:.2%}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def experiment(size: str, turns: int) -> Experiment:
    scheme = "wordpiece" if declared(size).model.family == "bert" else "bpe"
    run = {
        "run.steps": turns * STEPS,
        "run.steps_per_call": 1,
        "run.log_every": STEPS,
        "run.evaluate_every": 0,
        "run.checkpoint_every": SAVING * STEPS,
        "run.sample": 0,
    }
    return override(declared(size), DATA | run | {"data.tokenizer": f"{scheme}:4096"})


def measure(experiment: Experiment) -> dict:
    """Seconds a step of every turn; the first steps, which compile, are in none."""
    turns = {"bare": [], "trained": [], "saving": []}
    compile_for, prefetch_to_device, last = preparation.compile_for, loop.prefetch_to_device, None

    def seen(experiment, devices):
        """The step, whose last sums are looked at to know when the device has done all that it was given."""
        abstract, program = compile_for(experiment, devices)

        def step(state, batch):
            nonlocal last
            state, last = program.step(state, batch)
            return state, last

        return abstract, program._replace(step=step)

    def interrupted(program, read, run, begin):
        own, began = start(experiment)[1], None
        for number, (steps, batch) in enumerate(prefetch_to_device(program, read, run, begin)):
            turn, within = divmod(number, STEPS)
            if within == AFTER:
                jax.block_until_ready(last)
                if began is not None:
                    kind = "saving" if turn % SAVING == 0 else "trained"
                    turns[kind].append((time.perf_counter() - began) / STEPS)
                began = time.perf_counter()
                for _ in range(STEPS):
                    own, sums = program.step(own, batch)
                jax.block_until_ready((own, sums))
                turns["bare"].append((time.perf_counter() - began) / STEPS)
                began = time.perf_counter()
            yield steps, batch

    preparation.compile_for, loop.prefetch_to_device = seen, interrupted
    try:
        with TemporaryDirectory() as folder:
            loop.train(experiment, Path(folder) / "run", print)
    finally:
        preparation.compile_for, loop.prefetch_to_device = compile_for, prefetch_to_device
    bare, trained, saving = (statistics.median(turns[name]) for name in ("bare", "trained", "saving"))
    saves = (saving - trained) * STEPS / (60 * MINUTES)
    return turns | {"added": trained / bare - 1, "added_by_saves": saves}


if __name__ == "__main__":
    main()
