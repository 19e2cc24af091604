"""A contender: our step, on random tokens. Run by peers.py."""

import argparse
import json
import sys
import time
from typing import Any

import jax
import optax

from research.bench.bound import bound_of
from research.bench.cost import flops_a_token
from research.bench.measure import start
from research.bench.synthetic import batches
from research.devices.compilers import Compiled, compile_ahead
from research.devices.malloc import release_free_memory
from research.devices.memory import compile_step
from research.devices.targets import Chip, chip_of
from research.devices.xla import reuse_step_memory
from tests.benchmarks.sizes import declared
from tests.benchmarks.turns import serve


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("size")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--changes", type=json.loads, default={})
    parser.add_argument("--keep-freed", action="store_true")
    arguments = parser.parse_args()
    kept = arguments.keep_freed and reuse_step_memory()
    experiment = declared(arguments.size, {"model.precision": arguments.precision} | arguments.changes)
    program, state = start(experiment)
    count = experiment.run.steps_per_call
    made = batches(experiment)
    batch = [program.feed(next(made)) for _ in range(count)]
    batch = batch[0] if count == 1 else batch
    began = time.perf_counter()
    compile_ahead(program, state, batch)

    def call() -> None:
        nonlocal state
        state, sums = program.step(state, batch)
        jax.block_until_ready((state, sums))

    call()
    release_free_memory()
    chip = chip_of(jax.devices()[0].device_kind)
    facts = {
        "jax": jax.__version__,
        "optax": optax.__version__,
        "device": jax.devices()[0].device_kind,
        "allocator": _allocator(kept),
        "first_step": time.perf_counter() - began,
        "flops_a_token": flops_a_token(experiment),
        "peak_flops": None if chip is None else chip.half,
        "device_peak": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.model)),
    } | _planned(program, state, batch, count, chip)
    serve(call, count, facts)


def _planned(program: Compiled, state: Any, batch: Any, count: int, chip: Chip | None) -> dict[str, Any]:
    """What `lineage plan` says of the step here, on an accelerator: its memory, and its minimum time."""
    if jax.default_backend() == "cpu" or chip is None:
        return {}
    one = batch if count == 1 else batch[0]
    shapes = {name: (x.shape, x.dtype) for name, x in one.items()}
    text, need = compile_step(program, state, shapes, count)
    return {"planned_peak": need.peak, "bound": bound_of(text, chip).seconds / count}


def _allocator(kept: bool) -> str:
    if jax.default_backend() != "cpu":
        return "XLA's"
    return "glibc, freed memory kept" if kept else "glibc"


if __name__ == "__main__":
    sys.exit(main())
