"""What a run takes of each device, read off the compiled program, without running it."""

import math
import re
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import ShapeDtypeStruct

from research.config import Experiment
from research.parallel import compiled, mesh_of
from research.sharding import bytes_on_each
from research.training.state import initial_state
from research.training.step import step_of

LARGE = 2**20  # bytes


class Plan(NamedTuple):
    """Bytes are of one device."""

    mesh: dict[str, int]
    rows: int  # sequences that a device works on at once
    parameters: int
    moments: int  # and averages
    temporaries: int  # gradients, activations and what is put together, at the program's worst moment
    large: int  # arrays of the state over 1 MB
    split: int  # … of which no device keeps more than its share
    gathered: int  # the largest result of an all-gather

    @property
    def total(self) -> int:
        return self.parameters + self.moments + self.temporaries


def plan(experiment: Experiment, devices: int) -> Plan:
    """Compiles the step for `devices` of this machine, which may be simulated, and reads its memory.

    Of a run whose sequences change, the step at the longest.
    """
    experiment = max((experiment.at(step) for step in (0, experiment.data.later.step)), key=_length)
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
        moments=bytes_on_each((abstract.moments, abstract.average), mesh),
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
    batch = {
        name: ShapeDtypeStruct(shape, dtype, sharding=program.rows)
        for name, (shape, dtype) in batch_shapes(experiment).items()
    }
    done = program.lower(placed, batch).compile()
    return done.as_text(), done.memory_analysis().temp_size_in_bytes


def batch_shapes(experiment: Experiment) -> dict[str, tuple[tuple[int, ...], type]]:
    """name → (shape, type) of the global batch."""
    if experiment.labelled:
        return _labelled_shapes(experiment)
    B, L = experiment.data.batch, experiment.data.length
    tokens = {"tokens": ((B, L), jnp.int32)}
    if experiment.objective.name == "next_token":
        documents = {"documents": ((B, L), jnp.int32)} if experiment.data.attend == "document" else {}
        return tokens | {"targets": ((B, L), jnp.int32), "weights": ((B, L), jnp.float32)} | documents
    P = experiment.data.masking.predictions
    return tokens | {
        "segments": ((B, L), jnp.int32),
        "lengths": ((B,), jnp.int32),
        "positions": ((B, P), jnp.int32),
        "targets": ((B, P), jnp.int32),
        "weights": ((B, P), jnp.float32),
        "next_targets": ((B,), jnp.int32),
        "next_weights": ((B,), jnp.float32),
    }


def _labelled_shapes(experiment: Experiment) -> dict[str, tuple[tuple[int, ...], type]]:
    B, S, L = experiment.data.batch, experiment.task.sequences, experiment.data.length
    kind = experiment.objective.name
    shapes = {"tokens": ((B, S, L), jnp.int32), "lengths": ((B, S), jnp.int32)}
    if experiment.model.family == "bert":
        shapes["segments"] = ((B, S, L), jnp.int32)
    elif experiment.objective.auxiliary:
        shapes["auxiliary_weights"] = ((B, S, L), jnp.float32)
    labels = {"spans": (B, 2), "tags": (B, L)}.get(kind, (B,))
    return shapes | {
        "labels": (labels, jnp.float32 if kind == "regression" else jnp.int32),
        "label_weights": ((B, L) if kind == "tags" else (B,), jnp.float32),
    }


def _length(experiment: Experiment) -> int:
    return experiment.data.length


def _gathered(text: str) -> list[int]:
    """Bytes of every all-gather's result in a compiled program's text."""
    sizes = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1}
    found = []
    for kind, shape in re.findall(r"= \(?(\w+)\[([\d,]*)\][^=]*? all-gather(?:-start)?\(", text):
        found.append(sizes.get(kind, 4) * math.prod(int(n) for n in shape.split(",") if n))
    return found
