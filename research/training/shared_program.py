"""One program for all runs that differ only in their hyperparameters: run.hyperparameters=inputs.

It is compiled for the declaration without these numbers, which are part of each state. A process keeps its
last few programs, so that the trials of a sweep compile once.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax

from research.config import Experiment
from research.config.hyperparameters import Values, comparable, examples, split
from research.config.registry import Registry
from research.devices import xla
from research.devices.compilers import Compiled, compiled
from research.errors import UsageError
from research.objectives import evaluation_loss, objective_of
from research.objectives.objective import Sums
from research.runs.state import State, evaluation_params, initial_model, initial_state
from research.runs.traced_numbers import fill
from research.training.multi_step import multi_step
from research.training.step import read_by_loss, step_of
from research.training.teacher import shapes as teacher_shapes

KEPT = 4  # programs of a process: an executable takes tens of megabytes


class NeedsConstants(UsageError):
    """A part of another package that needs its hyperparameters as Python numbers."""


class SharedProgram(NamedTuple):
    abstract: State
    program: Compiled  # its evaluation takes (model, batch, hyperparameters)
    draw: Callable[[Any], Any]  # seed → model
    initialize: Callable[[Any, Values], State]  # (model or None, hyperparameters) → state
    step: Callable[..., tuple[State, Sums]]  # (state, batch) → (state, sums), not compiled
    place: Callable[[Values], Values]  # puts hyperparameters on the devices


def shared_program(experiment: Experiment, devices: Sequence[Any] | None = None) -> SharedProgram:
    """The program for `experiment` and all that differ from it only in hyperparameters; default: all devices.

    Raises NeedsConstants if an optimizer, schedule or objective needs a hyperparameter's value in Python.
    """
    shape, values = split(experiment)
    return _shared(shape, tuple(devices or jax.devices()), tuple(values))


@lru_cache(maxsize=KEPT)
def _shared(experiment: Experiment, devices: tuple[Any, ...], names: tuple[str, ...]) -> SharedProgram:
    def evaluate(model: Any, batch: Any, values: Values | None = None) -> Sums:
        return evaluation_loss(fill(experiment, values).objective)(model, batch)

    step, initialize = multi_step(step_of(experiment), experiment.run), partial(initial_state, experiment)
    abstract = _traced(experiment, step, initialize, evaluate, names)
    program = compiled(experiment.parallel, step, evaluate, abstract, devices)
    return SharedProgram(
        abstract=abstract,
        program=program,
        draw=xla.jit(partial(initial_model, experiment.model)),
        initialize=xla.jit(initialize, out_shardings=program.layout.replace(teacher=None)),
        step=step,
        place=jax.jit(lambda values: values, out_shardings=program.layout.hyperparameters),
    )


Registry.on_change.append(_shared.cache_clear)


def _traced(
    experiment: Experiment, step: Callable, initialize: Callable, evaluate: Callable, names: tuple[str, ...]
) -> State:
    """The shapes of a state, after tracing everything that uses its hyperparameters."""
    objective = objective_of(experiment.objective)
    shapes = objective.batch_shapes(experiment.at_step(0))
    batch = {name: jax.ShapeDtypeStruct(*shape) for name, shape in shapes.items()}
    count = experiment.run.steps_per_call
    try:
        with comparable.being(False):  # Python must not compare numbers that are inputs
            abstract = jax.eval_shape(initialize, None, examples(names))
            abstract = abstract.replace(teacher=teacher_shapes(experiment))
            jax.eval_shape(step, abstract, batch if count == 1 else [batch] * count)
            evaluated = batch | read_by_loss(abstract, objective.reads_step)
            params = jax.eval_shape(partial(evaluation_params, experiment), abstract)
            jax.eval_shape(evaluate, params, evaluated, abstract.hyperparameters)
    except (jax.errors.JAXTypeError, TypeError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        optimizer = experiment.optimizer
        raise NeedsConstants(
            "run.hyperparameters=inputs: expected run.hyperparameters=constants, since "
            f"optimizer.name={optimizer.name}, optimizer.rate.name={optimizer.rate.name}, "
            f"objective.name={experiment.objective.name} or a part of the model needs a number in Python: "
            f"{reason}"
        ) from error
    return abstract
