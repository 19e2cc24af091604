"""The train state: arrays only, so that any transform can hold it."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from research import config, models
from research.config import Experiment
from research.config.hyperparameters import Values
from research.models.precision import needs_loss_scale
from research.optimizers import loss_scale
from research.optimizers import optimizer as optimizers
from research.optimizers.loss_scale import LossScale
from research.optimizers.spike_guard import Guard, fresh
from research.optimizers.trained import trained
from research.runs.traced_numbers import fill


class State(struct.PyTreeNode):
    step: Array  # updates done
    model: Any  # the parameters, as the module that applies them
    opt_state: Any  # the optimizer's state
    ema_params: Any  # of the parameters that train, over steps; or None
    guard: Guard
    key: Array  # constant; each step folds its own number into it
    loss_scale: LossScale | None = None  # of float16
    # With run.hyperparameters=inputs the hyperparameters, constant and not saved; else None.
    hyperparameters: Values | None = None
    teacher: Any = None  # the model of objective.teacher, constant and not saved

    def saved(self) -> "State":
        """The part that a checkpoint holds."""
        return replace(self, hyperparameters=None, teacher=None)


def initial_model(model: config.Model, seed: int) -> Any:
    """The parameters drawn from `run.seed`."""
    return models.build(model, key=_keys(seed)[0])


def initial_state(experiment: Experiment, model: Any = None, hyperparameters: Values | None = None) -> State:
    """The state before the first step, with `model` or a new one; under `jax.eval_shape`, its shapes.

    `hyperparameters` are those missing from `experiment`.
    """
    experiment = fill(experiment, hyperparameters)
    model = initial_model(experiment.model, experiment.run.seed) if model is None else model
    update = optimizers.optimizer(experiment.optimizer, experiment.run.steps, experiment.model)
    part = trained(experiment.optimizer.freeze, experiment.model).select(model)
    return State(
        step=jnp.int32(0),
        model=model,
        opt_state=update.init(part),
        ema_params=None if experiment.optimizer.ema is None else jax.tree.map(jnp.copy, part),
        guard=fresh(),
        loss_scale=loss_scale.fresh() if needs_loss_scale(experiment.model) else None,
        key=_keys(experiment.run.seed)[1],
        hyperparameters=hyperparameters,
    )


def _keys(seed: int) -> tuple[Array, Array]:
    """For the parameters, and for all steps."""
    model, steps = jax.random.split(jax.random.key(seed))
    return model, steps


def evaluation_params(experiment: Experiment, state: State) -> Any:
    """The parameters to evaluate and to export: an average over steps if the run keeps one."""
    split = trained(experiment.optimizer.freeze, experiment.model)
    if state.ema_params is not None:
        return split.merge(state.model, state.ema_params)
    if not optimizers.averages_iterates(state.opt_state):
        return state.model
    part = optimizers.evaluation_params(split.select(state.model), state.opt_state)
    return split.merge(state.model, part)
