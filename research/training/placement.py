"""Resolves `auto` settings of compilation, such as `parallel.compile=auto`, for the devices of a run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from research.config import Experiment, Parallel
from research.devices import xla
from research.devices.compilers import Compiled, check_rows, compiled, mesh_of, with_compiler
from research.devices.memory import Need, compile_step, fewest_parts
from research.errors import UsageError
from research.models.ops.dropout import chosen_generator
from research.models.precision import needs_loss_scale
from research.models.transformer import blocks_in_a_turn
from research.objectives import evaluation_loss, objective_of
from research.optimizers.optimizer import evaluates_loss, optimizer
from research.optimizers.trained import trained
from research.runs.state import State, initial_model
from research.training.multi_step import multi_step
from research.training.shared_program import shared_program
from research.training.step import step_of
from research.training.teacher import abstract_state

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"


class DoesNotFit(UsageError):
    """The step does not fit into a device's memory, however many parts the batch has."""


def settled(
    experiment: Experiment,
    devices: Sequence[Any],
    usable: int | None,
    need: Callable[[Experiment], Need] | None = None,
) -> Experiment:
    """Resolves `auto` in `experiment` for `devices` with `usable` bytes of memory each.

    `parallel.compile`: jit on one device, sharded on several. `.accumulate`: the fewest parts of a batch for
    which the compiled step fits; 1 if the memory is unknown. `need` compiles. Raises DoesNotFit.
    """
    parallel = with_compiler(experiment.parallel, devices)
    if parallel.accumulate != "auto":
        return replace(experiment, parallel=parallel)
    need = need or partial(needed, devices=devices)
    shards = split_by(parallel, devices)
    check_rows(experiment.data.batch, shards)
    rows = experiment.data.batch // shards
    if usable is None:
        return in_parts(experiment, parallel, 1)
    parts = fewest_parts(rows, lambda parts: need(in_parts(experiment, parallel, parts)), usable)
    if parts is None:
        least = need(in_parts(experiment, parallel, rows)).peak
        raise DoesNotFit(
            f"a single sequence needs {least / 1e9:.2f} GB on a device, {(least - usable) / 1e9:.2f} GB "
            "more than it has; lineage plan --fit searches model.remat and parallel.fsdp"
        )
    return in_parts(experiment, parallel, parts)


def choices(experiment: Experiment) -> dict[str, Any]:
    """The values that replace `auto` in a settled experiment on these devices, for the run's record."""
    model, parallel = experiment.model, experiment.parallel
    return {
        "parallel.compile": parallel.compile,
        "parallel.accumulate": parallel.accumulate,
        "model.unroll": blocks_in_a_turn(model),
        "model.dropout_generator": chosen_generator(model.dropout_generator),
    }


@contextmanager
def within_memory(experiment: Experiment) -> Iterator[None]:
    """Turns a device's out-of-memory error into DoesNotFit, with overrides to try."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if OUT_OF_MEMORY not in str(error):
            raise
        parallel = experiment.parallel
        rows = experiment.data.batch // split_by(parallel, jax.devices())
        more = next((n for n in range(parallel.parts + 1, rows + 1) if rows % n == 0), None)
        fewer = "" if more is None else f"parallel.accumulate={more}, or "
        remat = "" if experiment.model.remat == "block" else "model.remat=block, or "
        message = " ".join(str(error).split())
        raise DoesNotFit(
            f"a device ran out of memory; expected {fewer}{remat}more devices, over which parallel.fsdp "
            f"splits the state; the device said: {message[:200]}"
        ) from error


def in_parts(experiment: Experiment, parallel: Parallel, parts: int) -> Experiment:
    return replace(experiment, parallel=replace(parallel, accumulate=parts))


def needed(experiment: Experiment, devices: Sequence[Any]) -> Need:
    """The memory that the experiment's step needs, at its longest sequences."""
    longest = at_longest(experiment)
    abstract, program = compile_for(longest, devices)
    shapes = objective_of(longest.objective).batch_shapes(longest)
    return compile_step(program, abstract, shapes, longest.run.steps_per_call)[1]


def compile_for(experiment: Experiment, devices: Sequence[Any] | None = None) -> tuple[State, Compiled]:
    """The state's shapes, and the step and evaluation, compiled at their first call; default: all devices."""
    check_optimizer(experiment)
    with xla.deterministic.being(experiment.run.deterministic):
        if experiment.run.hyperparameters == "inputs":
            return shared_program(experiment, devices)[:2]
        abstract = abstract_state(experiment)
        step = multi_step(step_of(experiment), experiment.run)
        evaluate = evaluation_loss(experiment.objective)
        return abstract, compiled(experiment.parallel, step, evaluate, abstract, devices)


def trace(experiment: Experiment, abstract: State, program: Compiled, batches: Sequence[Any]) -> None:
    """Traces a run's first call of its step, to raise its errors before anything is computed.

    `batches` are this process's batches of that call. JAX caches the trace, so the call does not repeat it.
    """
    if experiment.parallel.compile == "pmap" and jax.process_count() > 1:
        return  # its arguments have to be arrays
    state = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        program.layout,
    )
    placed = [program.feed(batch) for batch in batches]
    program.lower(state, placed[0] if experiment.run.steps_per_call == 1 else placed)


def split_by(parallel: Parallel, devices: Sequence[Any]) -> int:
    """The number of devices that split the rows of a batch. Raises UsageError as `mesh_of` does."""
    if parallel.compile == "jit":
        return 1
    mesh = mesh_of(parallel, devices)
    return mesh.shape["data"] * mesh.shape["fsdp"]


def at_longest(experiment: Experiment) -> Experiment:
    """The experiment at the step with the longest sequences."""
    steps = (0, experiment.data.later.step)
    return experiment.at_step(max(steps, key=lambda step: experiment.data.at_step(step).length))


def check_optimizer(experiment: Experiment) -> None:
    """Raises UsageError for an optimizer that the experiment's compiler or precision does not support.

    Under pmap, devices do not sum their estimates of the curvature; in float16, these have no loss scale.
    """
    name, scaled = experiment.optimizer.name, needs_loss_scale(experiment.model)
    if experiment.parallel.compile != "pmap" and not scaled:
        return
    shapes = jax.eval_shape(partial(initial_model, experiment.model, experiment.run.seed))
    shapes = jax.eval_shape(trained(experiment.optimizer.freeze, experiment.model).select, shapes)
    if evaluates_loss(optimizer(experiment.optimizer, experiment.run.steps, experiment.model), shapes):
        if scaled:
            raise UsageError(
                f"optimizer.name={name}: its curvature underflows in float16; "
                "expected model.precision=float32"
            )
        raise UsageError(
            f"optimizer.name={name}: its curvature is not added up under pmap; "
            "expected parallel.compile=sharded"
        )
