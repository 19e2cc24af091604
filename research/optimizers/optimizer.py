"""The optimizer of a declaration: gradient clipping, then the registered algorithm under its schedule."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from optax import contrib

from research.config import Model, Optimizer
from research.config.hyperparameters import is_one
from research.config.names import OPTIMIZERS
from research.config.scaling import relative_width
from research.errors import UsageError
from research.optimizers import algorithms as algorithms  # registers the built-in ones
from research.optimizers.layer_rates import by_layer
from research.optimizers.masks import rate_multipliers
from research.optimizers.schedules import schedule


def optimizer(
    config: Optimizer, steps: int, model: Model | None = None
) -> optax.GradientTransformationExtraArgs:
    """The clipped optimizer of `config` for a run of `steps`, with the rate multipliers of `model.scaling`.

    It takes the part of a model that trains: see `research.optimizers.trained`. `update` takes the gradients'
    global `norm`, if known, the loss as `value`, and the loss as a function of the parameters, `obj_fn`, for
    optimizers that estimate the curvature.
    """
    chosen = _with_layer_rates(config, schedule(config.rate, steps), model)
    if model is not None and relative_width(model) != 1:
        chosen = _by_role(chosen, config.name, model)
    clip = optax.identity() if config.clip is None else _clip(config.clip)
    return optax.with_extra_args_support(optax.chain(clip, chosen))


def evaluation_params(model: Any, opt_state: Any) -> Any:
    """The parameters to evaluate: the average of the iterates if the optimizer keeps one, else `model`."""
    for state in _schedule_free(opt_state):
        return contrib.schedule_free_eval_params(state, model)
    return model


def averages_iterates(opt_state: Any) -> bool:
    """Whether `evaluation_params` needs the optimizer's state; takes arrays or shapes."""
    return bool(_schedule_free(opt_state))


def evaluates_loss(update: optax.GradientTransformationExtraArgs, model: Any) -> bool:
    """Whether the optimizer calls `obj_fn`; `model` may be shapes."""
    calls = []

    def loss(model: Any) -> Array:
        calls.append(model)
        return jnp.float32(0)

    def trace(model: Any) -> Any:
        one = jnp.float32(1)
        return update.update(model, update.init(model), model, norm=one, value=one, obj_fn=loss)

    jax.eval_shape(trace, model)
    return bool(calls)


def _with_layer_rates(
    config: Optimizer, rate: Callable[..., Array], model: Model | None
) -> optax.GradientTransformation:
    """The algorithm, with its updates multiplied by the factors of `optimizer.rate.layer_decay`.

    An algorithm that keeps iterates of its own multiplies what it adds to them: it takes a third argument,
    `multiply`. Multiplying its final update would move the parameters away from these iterates.
    """
    algorithm = OPTIMIZERS[config.name]
    if is_one(config.rate.layer_decay):
        return algorithm(config, rate)
    assert model is not None  # without it there are no layers
    multiply = by_layer(config.rate.layer_decay, config.freeze, model)
    if "multiply" in inspect.signature(algorithm).parameters:
        return algorithm(config, rate, multiply=multiply)
    return optax.chain(_without_iterates(algorithm(config, rate), config.name), multiply)


def _without_iterates(inner: optax.GradientTransformation, name: str) -> optax.GradientTransformation:
    """`inner`. Raises UsageError if it keeps iterates."""

    def init(params: Any) -> Any:
        state = inner.init(params)
        if averages_iterates(state):
            raise UsageError(
                f"optimizer.rate.layer_decay: optimizer.name={name} keeps iterates of its own; expected 1, "
                "or a function with a third argument `multiply`, as research/optimizers/algorithms.py has"
            )
        return state

    return optax.GradientTransformationExtraArgs(init, optax.with_extra_args_support(inner).update)


def _by_role(inner: optax.GradientTransformation, name: str, model: Model) -> optax.GradientTransformation:
    """Multiplies each parameter's updates by the factor of its role.

    `inner` sees parameters divided by that factor; only its decay uses them, which then moves parameters by
    rate × decay at every width.
    """
    inner = optax.with_extra_args_support(inner)

    def update(updates, state, params=None, **arguments):
        factors = rate_multipliers(updates, name, model)
        params = jax.tree.map(lambda p, factor: p / factor, params, factors)
        updates, state = inner.update(updates, state, params, **arguments)
        return jax.tree.map(lambda u, factor: u * factor, updates, factors), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _clip(limit: float) -> optax.GradientTransformationExtraArgs:
    """Scales gradients down to a global norm of `limit`.

    It multiplies by one factor, as TensorFlow does for the originals; Optax divides each element, another
    pass on a CPU.
    """

    def update(updates, state, params=None, *, norm=None, **_):
        scale = jnp.minimum(1.0, limit / (optax.tree.norm(updates) if norm is None else norm))
        return jax.tree.map(lambda g: g * scale, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _schedule_free(opt_state: Any) -> list[contrib.ScheduleFreeState]:
    def found(node: Any) -> bool:
        return isinstance(node, contrib.ScheduleFreeState)

    return list(filter(found, jax.tree.leaves(opt_state, is_leaf=found)))
