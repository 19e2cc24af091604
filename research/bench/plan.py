"""Compiles a training step for any devices: its memory, communication and lower bound of time."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax

from research.bench.bound import Bound, bound_of, largest_gathered
from research.bench.cost import flops_a_token
from research.config import Experiment
from research.devices.compilers import Compiled, check_rows, mesh_of
from research.devices.environment import POOL
from research.devices.memory import USABLE, Need, compile_step
from research.devices.sharding import bytes_on_each
from research.devices.targets import Chip
from research.models.attention_choice import Choice, choose
from research.models.platform import tracing_for_device
from research.objectives import objective_of
from research.runs.state import State
from research.training.placement import at_longest, compile_for, split_by
from research.training.together import check_shares, of_lanes

LARGE = 2**20  # bytes


class Plan(NamedTuple):
    """Bytes are per device."""

    together: int  # runs in one program
    compile: str  # parallel.compile, settled
    accumulate: int  # parallel.accumulate, settled
    mesh: dict[str, int]
    rows: int  # sequences that a device processes at once
    parameters: int
    opt_state: int  # and averages
    teacher: int  # of objective.teacher; 0 without one
    temporaries: int
    peak: int
    usable: int | None  # of the target's memory; None if unknown
    large: int  # arrays of the state over 1 MB
    split: int  # … that are fully split over devices
    gathered: int  # the largest result of an all-gather
    attention: Choice
    compile_seconds: float
    bound: Bound | None  # None if the device's speed is unknown, or if it does not fit on a TPU
    mfu: float | None  # that the bound allows


class Build(NamedTuple):
    """A step that was compiled."""

    abstract: State
    program: Compiled
    text: str  # empty if a TPU's compiler refused it
    need: Need
    seconds: float


def build(experiment: Experiment, devices: Sequence[Any], together: int = 1) -> Build:
    """Compiles the step, or a step of `together` runs, at the longest sequences of the run.

    It compiles one step per call: several would sum launches and time, and need hardly more memory.
    """
    if together > 1:
        check_shares(experiment)
    experiment = at_longest(replace(experiment, run=replace(experiment.run, steps_per_call=1)))
    with tracing_for_device(devices[0]):
        abstract, program = compile_for(experiment, devices)
        check_rows(experiment.data.batch, program.parts)
        if together > 1:
            abstract, program = of_lanes(experiment, devices, together)
        began = time.perf_counter()
        shapes = objective_of(experiment.objective).batch_shapes(experiment)
        text, need = compile_step(program, abstract, shapes)
        return Build(abstract, program, text, need, time.perf_counter() - began)


def plan(
    experiment: Experiment, devices: Sequence[Any], chip: Chip | None, built: Build, together: int = 1
) -> Plan:
    """The plan of a settled experiment that is `built`, on devices of the kind `chip`, if known."""
    experiment, (abstract, program, text, need, seconds) = at_longest(experiment), built
    with tracing_for_device(devices[0]):
        attention = choose(
            experiment.model, True, experiment.data.attend == "document", experiment.data.length
        )
    mesh, layout = mesh_of(experiment.parallel, devices), program.layout
    shares = [
        (math.prod(sharding.shard_shape(leaf.shape)), leaf)
        for leaf, sharding in zip(jax.tree.leaves(abstract), jax.tree.leaves(layout), strict=True)
        if leaf.size * leaf.dtype.itemsize > LARGE
    ]
    bound = bound_of(text, chip) if chip is not None and chip.bandwidth and text else None
    work = flops_a_token(experiment) * experiment.tokens(1) * together / mesh.size
    return Plan(
        together=together,
        compile=experiment.parallel.compile,
        accumulate=experiment.parallel.parts,
        mesh=dict(mesh.shape),
        rows=experiment.data.batch // (split_by(experiment.parallel, devices) * experiment.parallel.parts),
        parameters=bytes_on_each(abstract.model, layout.model),
        opt_state=bytes_on_each(
            (abstract.opt_state, abstract.ema_params), (layout.opt_state, layout.ema_params)
        ),
        teacher=bytes_on_each(abstract.teacher, layout.teacher),
        temporaries=need.temporaries,
        peak=need.peak,
        usable=usable_of(chip),
        large=len(shares),
        split=sum(share * mesh.size == leaf.size for share, leaf in shares),
        gathered=largest_gathered(text),
        attention=attention,
        compile_seconds=seconds,
        bound=bound,
        mfu=work / (chip.half * bound.seconds) if chip is not None and bound is not None else None,
    )


def usable_of(chip: Chip | None) -> int | None:
    """Bytes that a program may use on a chip, if known. JAX reserves only a part of a GPU's memory."""
    if chip is None or not chip.memory:
        return None
    return int(USABLE * chip.memory * (POOL if chip.platform == "gpu" else 1))
