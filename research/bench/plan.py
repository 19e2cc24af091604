"""Memory that a run needs on each device, read off the compiled program, without running it."""

import math
import re
from functools import partial
from typing import NamedTuple

import jax
from jax import ShapeDtypeStruct

from research.config import Experiment
from research.devices.compilers import compiled, mesh_of
from research.devices.sharding import bytes_on_each
from research.objectives import objective_of
from research.runs.state import initial_state
from research.training.step import step_of

LARGE = 2**20  # bytes


class Plan(NamedTuple):
    """Bytes are of one device."""

    mesh: dict[str, int]
    rows: int  # sequences that a device works on at once
    parameters: int
    opt_state: int  # and averages
    temporaries: int  # gradients, activations and gathered arrays, at the program's peak
    large: int  # arrays of the state over 1 MB
    split: int  # … of which no device keeps more than its share
    gathered: int  # the largest result of an all-gather

    @property
    def total(self) -> int:
        return self.parameters + self.opt_state + self.temporaries


def plan(experiment: Experiment, devices: int) -> Plan:
    """Compiles the step for `devices` of this machine, which may be simulated, and reads its memory.

    Of a run whose sequences change, the step at the longest.
    """
    experiment = max((experiment.at_step(step) for step in (0, experiment.data.later.step)), key=_length)
    abstract = jax.eval_shape(partial(initial_state, experiment))
    mesh = mesh_of(experiment.parallel, jax.devices()[:devices])
    program = compiled(experiment.parallel, step_of(experiment), lambda *_: None, abstract)
    text, temporaries = _compile(experiment, abstract, program)
    shares = [
        (math.prod(sharding.shard_shape(leaf.shape)), leaf)
        for leaf, sharding in zip(jax.tree.leaves(abstract), jax.tree.leaves(program.layout), strict=True)
        if leaf.size * leaf.dtype.itemsize > LARGE
    ]
    split_by = mesh.shape["data"] * mesh.shape["fsdp"]
    return Plan(
        mesh=dict(mesh.shape),
        rows=experiment.data.batch // (split_by * experiment.parallel.accumulate),
        parameters=bytes_on_each(abstract.model, mesh),
        opt_state=bytes_on_each((abstract.opt_state, abstract.ema_params), mesh),
        temporaries=temporaries,
        large=len(shares),
        split=sum(share * devices == leaf.size for share, leaf in shares),
        gathered=max(_gathered(text), default=0),
    )


def _compile(experiment: Experiment, abstract, program) -> tuple[str, int]:
    """The program's text and the bytes of its temporaries."""
    placed = jax.tree.map(
        lambda leaf, sharding: ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        program.layout,
    )
    shapes = objective_of(experiment.objective).batch_shapes(experiment)
    batch = {
        name: ShapeDtypeStruct(shape, dtype, sharding=program.rows) for name, (shape, dtype) in shapes.items()
    }
    done = program.lower(placed, batch).compile()
    return done.as_text(), done.memory_analysis().temp_size_in_bytes


def _length(experiment: Experiment) -> int:
    return experiment.data.length


def _gathered(text: str) -> list[int]:
    """Bytes of every all-gather's result in a compiled program's text."""
    sizes = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}
    found = []
    for kind, shape in re.findall(r"= \(?(\w+)\[([\d,]*)\][^=]*? all-gather(?:-start)?\(", text):
        found.append(sizes.get(kind, 4) * math.prod(int(n) for n in shape.split(",") if n))
    return found
