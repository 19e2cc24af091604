"""Training that is killed again and again, beside training that is not: nothing may tell them apart.

    python -m tests.benchmarks.torture --kills 50 --models gpt2_tiny bert_tiny --compilers jit pmap

A child process trains each tiny experiment, dropout on, and gets SIGKILL at random moments: uniformly over
somewhat more than a start takes, and every third time as soon as a save has begun. Each time the same command
starts it again. Then the last checkpoint's arrays and metrics.jsonl (but for times) are compared bit for bit.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import jax

import experiments
from research.config.settings import override
from tests.training.tiny import assignments, final_arrays, timeless

MODELS = ("gpt1_tiny", "gpt2_tiny", "bert_tiny")
COMPILERS = ("jit", "sharded", "pmap")
DEVICES = 2
SMALL = {
    "model.width": 32,
    "model.depth": 2,
    "model.heads": 2,
    "model.context": 64,
    "model.dropout": 0.1,
    "data.length": 64,
    "data.batch": 8,
    "optimizer.rate.warmup": 10,
    "run.log_every": 1,
    "run.evaluate_every": 0,
    "run.checkpoint_every": 7,
    "run.sample": 0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="of each model under each compiler")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--compilers", nargs="+", choices=COMPILERS, default=COMPILERS)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    draw, rows = random.Random(arguments.seed), []
    print(f"{'model':<11}{'compiler':<10}{'kills':>6}{'in a save':>11}{'seconds':>9}  result")
    with TemporaryDirectory(prefix="torture-") as folder:
        for name in arguments.models:
            for compiler in arguments.compilers:
                changes = SMALL | {"run.steps": arguments.steps, "parallel.compile": compiler}
                experiment = override(experiments.get(name), changes)
                row = torture(experiment, Path(folder) / f"{name}-{compiler}", arguments.kills, draw)
                rows.append({"model": name, "compiler": compiler} | row)
                print(
                    f"{name:<11}{compiler:<10}{row['kills']:>6}{row['in_a_save']:>11}{row['seconds']:>9.0f}"
                    f"  {'identical' if row['identical'] else 'DIFFERS'}",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
    sys.exit(0 if all(row["identical"] for row in rows) else 1)


def torture(experiment, folder: Path, kills: int, draw: random.Random) -> dict:
    """Trains undisturbed, then again with `kills` kills; what came of it."""
    began = time.perf_counter()
    finish(start(experiment, folder / "undisturbed"))
    restart = time.perf_counter()
    finish(start(experiment, folder / "undisturbed"))  # has nothing to do: what a start alone takes
    restart = time.perf_counter() - restart
    done = in_a_save = 0
    while done < kills:
        process = start(experiment, folder / "killed")
        saving = done % 3 == 2
        left = await_save(process, folder / "killed") if saving else draw.uniform(0, 1.3 * restart)
        try:
            process.wait(timeout=draw.uniform(0, 0.05) if saving else left)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
            in_a_save += any((folder / "killed/checkpoints").glob("*.orbax-checkpoint-tmp*"))
            continue
        if process.returncode:
            raise SystemExit(f"ended by itself with {process.returncode}: {process.args}")
        # It came to its end: the kills that are left are another run's.
        if not same(experiment, folder / "undisturbed", folder / "killed"):
            break
        (folder / "killed").rename(folder / f"killed-{done}")
    finish(start(experiment, folder / "killed"))
    return {
        "kills": done,
        "in_a_save": in_a_save,
        "seconds": round(time.perf_counter() - began, 1),
        "identical": same(experiment, folder / "undisturbed", folder / "killed"),
    }


def start(experiment, directory: Path) -> subprocess.Popen:
    """`lineage train` in a process of its own."""
    command = [sys.executable, "-m", "launch", "train", experiment.name, *assignments(experiment)]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(DEVICES)}
    directory.parent.mkdir(exist_ok=True)
    with (directory.parent / "output.txt").open("a") as output:
        return subprocess.Popen(
            [*command, "--dir", str(directory)], env=environment, stdout=output, stderr=output
        )


def finish(process: subprocess.Popen) -> None:
    if process.wait():
        raise SystemExit(f"ended by itself with {process.returncode}: {' '.join(process.args)}")


def await_save(process: subprocess.Popen, directory: Path) -> None:
    """Until a save has begun, or the process has ended."""
    while process.poll() is None and not any((directory / "checkpoints").glob("*.orbax-checkpoint-tmp*")):
        time.sleep(0.001)


def same(experiment, one: Path, other: Path) -> bool:
    """Whether two runs have equal rows and equal last arrays."""
    if timeless(one) != timeless(other):
        return False
    expected, arrays = final_arrays(experiment, one), final_arrays(experiment, other)
    return all(array.tobytes() == expected[name].tobytes() for name, array in arrays.items())


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
