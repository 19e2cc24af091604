"""Compiles shrunken experiments for devices that are not here, and prints facts of the programs as JSON.

    python -m tests.bench.compiled_for TARGET PLANT < CASES

In a process of its own: a compiler's environment is set before JAX starts. PLANT is a fault to look for, or
"sound". CASES are [[name, overrides], …].
"""

import json
import sys

import experiments
from research.config.settings import override
from research.devices.ahead import devices_of, prepare
from research.devices.targets import parse_target

SMALL = {
    "model.vocabulary": 2_048,
    "model.context": 128,
    "model.width": 128,
    "model.depth": 2,
    "model.heads": 2,
    "data.batch": 16,
    "data.length": 128,
    "data.later.step": 0,
    "run.steps_per_call": 1,
    "parallel.accumulate": 1,
}


def main() -> None:
    target = parse_target(sys.argv[1])
    prepare(target)
    import jax

    devices = devices_of(target)
    plant(sys.argv[2])
    facts = []
    for name, changes in json.load(sys.stdin):
        experiment = override(experiments.get(name), SMALL | changes)
        mine = devices[:1] if experiment.parallel.compile == "jit" else devices
        facts.append(facts_of(experiment, mine))
        jax.clear_caches()
    json.dump(facts, sys.stdout)


def facts_of(experiment, devices) -> dict:
    from research.bench.hlo import COLLECTIVES, launches, parse
    from research.bench.plan import build
    from research.bench.traffic import cost, products

    built = build(experiment, devices)
    program = parse(built.text)
    found, collectives, attention = [], [], 0
    for launch in launches(program):
        operation = launch.operation
        kind = operation.kind.removesuffix("-start")
        attention += launch.times * (cost(program, launch).kind == "attention")
        if kind in COLLECTIVES:
            taken = [shape for name in operation.operands for shape in launch.inside[name].results]
            arrays = operation.results if kind == "all-gather" else taken
            collectives.append((kind, launch.times, [array.bytes for array in arrays]))
        for dot, inside in products(program, operation, launch.inside):
            operands = [inside[name].results[0] for name in dot.operands[:2]]
            found.append(([shape.dtype for shape in operands], [shape.sizes for shape in operands]))
    return {
        "need": built.need._asdict(),
        "products": found,
        "collectives": collectives,
        "attention": attention,
    }


def plant(fault: str) -> None:
    """Breaks a law on purpose, to see that its test fails."""
    import jax.numpy as jnp

    from research.devices import xla
    from research.models import linear
    from research.training import step

    if fault == "undonated":
        jit = xla.jit
        xla.jit = lambda step, donate_argnums=None, **settings: jit(step, **settings)
    elif fault == "float32":
        linear.matmul_dtype = lambda _: jnp.dtype(jnp.float32)
    elif fault == "reduced in parts":
        step.data_shards = lambda: 1


if __name__ == "__main__":
    main()
