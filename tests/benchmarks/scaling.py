"""What a step costs as one thing grows: `python tests/benchmarks/scaling.py [--json PATH]`.

Nothing is timed but compiling. Operations, bytes and messages are read off the compiled program, each in a
process with as many simulated devices as it is for. Loops are unrolled, since the compiler's account takes a
loop's body once; devices are given a batch each (weak scaling).
"""

import argparse
import json
import math
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from tests.benchmarks.turns import ROOT

BASE = {
    "model.vocabulary": 1_024,
    "model.width": 128,
    "model.depth": 2,
    "model.heads": 4,
    "data.batch": 2,
    "data.length": 64,
}
GROWS = {
    "layers": [{"model.depth": n} for n in (2, 4, 8)],
    "width": [{"model.width": n} for n in (128, 256, 512)],
    "tokens": [{"data.length": n} for n in (64, 128, 256)],
    "batch": [{"data.batch": n} for n in (1, 2, 4)],
    "devices": [{"devices": n} for n in (1, 2, 4, 8)],
    "devices, parameters split": [
        {"devices": n, "parallel.data": 1, "parallel.fsdp": -1} for n in (1, 2, 4, 8)
    ],
}
BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "pred": 1}
COLLECTIVE = (
    r"= \(?(.*?)\)? (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=GROWS, nargs="+", default=list(GROWS))
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(cost(arguments.one)))
        return
    found = {}
    heads = ("GFLOP", "GB moved", "MB sent", "temp MB", "compile s")
    print(f"{'':<32}" + "".join(f"{head:>11}" for head in heads) + "   per device")
    for axis in arguments.only:
        found[axis] = []
        for point in GROWS[axis]:
            command = [sys.executable, "-m", "tests.benchmarks.scaling", "--one", json.dumps(point)]
            row = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
            found[axis].append(point | row)
            value = next(iter(point.values()))
            numbers = "".join(f"{row[name]:>11.3f}" for name in heads)
            print(f"{axis:<26}{value:>6}{numbers}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def cost(point: dict) -> dict[str, float]:
    """Of one device's program."""
    import jax

    devices = point.pop("devices", None)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices or 1)
    import experiments
    from research.config.settings import override
    from research.devices.compilers import compiled
    from research.objectives import objective_of
    from research.runs.state import initial_state
    from research.training.step import step_of

    settings = BASE | point
    settings["model.context"] = settings["data.length"]
    settings["model.unroll"] = settings["model.depth"]
    if devices:
        settings |= {"parallel.compile": "sharded", "data.batch": BASE["data.batch"] * devices}
    experiment = override(experiments.get("gpt2_small"), settings)
    abstract = jax.eval_shape(partial(initial_state, experiment))
    program = compiled(experiment.parallel, step_of(experiment), lambda *_: None, abstract)
    placed = jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        abstract,
        program.layout,
    )
    batch = {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=program.rows)
        for name, (shape, dtype) in objective_of(experiment.objective).batch_shapes(experiment).items()
    }
    began = time.perf_counter()
    done = program.lower(placed, batch).compile()
    seconds = time.perf_counter() - began
    parameters = done.cost_analysis()
    return {
        "GFLOP": parameters["flops"] / 1e9,
        "GB moved": parameters["bytes accessed"] / 1e9,
        "MB sent": sent(done.as_text()) / 1e6,
        "temp MB": done.memory_analysis().temp_size_in_bytes / 1e6,
        "compile s": seconds,
    }


def sent(text: str) -> int:
    """Bytes of the results of all collectives in a program."""
    total = 0
    for results, _ in re.findall(COLLECTIVE, text):
        for kind, shape in re.findall(r"(\w+)\[([\d,]*)\]", results):
            total += BYTES.get(kind, 4) * math.prod(int(n) for n in shape.split(",") if n)
    return total


if __name__ == "__main__":
    sys.exit(main())
