"""A guard against divergence: skips updates whose loss or gradient is not finite or is an outlier."""

from dataclasses import replace

import jax.numpy as jnp
from flax import struct
from jax import Array

from research.config.hyperparameters import is_zero

WINDOW = 128  # finite steps to compare a new step with


class Guard(struct.PyTreeNode):
    """The last W = WINDOW finite losses and gradient norms, and counts."""

    losses_W: Array
    norms_W: Array
    seen: Array  # finite steps so far
    skipped: Array  # updates skipped so far
    broken: Array  # the last step whose loss or gradient was not finite; -1 for none


def fresh() -> Guard:
    return Guard(jnp.zeros(WINDOW), jnp.zeros(WINDOW), jnp.int32(0), jnp.int32(0), jnp.int32(-1))


def should_apply(guard: Guard, step: Array, loss: Array, norm: Array, limit: float) -> tuple[Array, Guard]:
    """Whether to apply the update of `step`, and the next guard.

    An update is skipped if its loss or norm is not finite. With a `limit` above 0 it is also skipped if
    either is more than `limit` standard deviations above the mean of a full window, as in llm.c's outlier
    detector.
    """
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    sound = finite
    if not is_zero(limit):
        full = guard.seen >= WINDOW
        stands_out = (_z(loss, guard.losses_W) > limit) | (_z(norm, guard.norms_W) > limit)
        sound = finite & ~(full & stands_out)
    place = guard.seen % WINDOW
    after = Guard(
        losses_W=jnp.where(finite, guard.losses_W.at[place].set(loss), guard.losses_W),
        norms_W=jnp.where(finite, guard.norms_W.at[place].set(norm), guard.norms_W),
        seen=guard.seen + finite.astype(jnp.int32),
        skipped=guard.skipped + (~sound).astype(jnp.int32),
        broken=jnp.where(finite, guard.broken, step),
    )
    return sound, after


def also_finite(sound: Array, guard: Guard, step: Array, update_norm: Array) -> tuple[Array, Guard]:
    """As `should_apply` found, but for an update that is not finite although its gradient is."""
    broken = sound & ~jnp.isfinite(update_norm)
    after = replace(
        guard, skipped=guard.skipped + broken.astype(jnp.int32), broken=jnp.where(broken, step, guard.broken)
    )
    return sound & ~broken, after


def _z(value: Array, window_W: Array) -> Array:
    return (value - window_W.mean()) / jnp.maximum(window_W.std(), 1e-9)
