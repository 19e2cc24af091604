"""One update, written once: `research.parallel` makes it a jitted, a sharded or a pmapped one."""

import jax
import jax.numpy as jnp
import optax
from jax import Array

from research.objectives import Batch, Objective, weights_in
from research.training.state import State


def train_step(
    state: State,
    batch: Batch,
    *,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    axis: str | None = None,
) -> tuple[State, dict[str, Array]]:
    """The next state, and the loss and gradient norm of this one.

    Weights are divided by their sum over all devices before the loss, not after: a mean of the devices'
    means would weigh a target by how many others its device was dealt. Over a pmapped `axis`, gradients
    add up.
    """
    key = jax.random.fold_in(state.key, state.step)
    if axis is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis))
    batch = normalized(batch, axis)

    def loss(model):
        sums = objective(model, batch, key)
        return sums["loss"], sums

    grads, sums = jax.grad(loss, has_aux=True)(state.model)
    if axis is not None:
        grads, sums = jax.lax.psum((grads, sums), axis)
    updates, moments = optimizer.update(grads, state.moments, state.model)
    state = state.replace(
        step=state.step + 1, model=optax.apply_updates(state.model, updates), moments=moments
    )
    return state, sums | {"gradient_norm": optax.tree.norm(grads)}


def normalized(batch: Batch, axis: str | None) -> Batch:
    """`batch` with each array of weights divided by its sum over the whole batch, on all devices."""

    def share(weights: Array) -> Array:
        total = weights.sum() if axis is None else jax.lax.psum(weights.sum(), axis)
        return weights / jnp.maximum(total, 1e-9)  # a batch without targets moves nothing

    return batch | {name: share(batch[name]) for name in weights_in(batch)}
