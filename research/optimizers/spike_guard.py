"""A guard against divergence: which updates not to make."""

import jax.numpy as jnp
from flax import struct
from jax import Array

WINDOW = 128  # finite steps that a new one is compared with


@struct.dataclass
class Guard:
    """What is remembered of the steps before: W = WINDOW losses and gradient norms."""

    losses_W: Array
    norms_W: Array
    seen: Array  # finite steps so far
    skipped: Array  # updates not made so far
    broken: Array  # the last step whose loss or gradient was not finite; -1 for none


def fresh() -> Guard:
    return Guard(jnp.zeros(WINDOW), jnp.zeros(WINDOW), jnp.int32(0), jnp.int32(0), jnp.int32(-1))


def judge(guard: Guard, step: Array, loss: Array, norm: Array, limit: float) -> tuple[Array, Guard]:
    """Whether to make the update of `step`, and what is remembered of it.

    Not if something is not finite; nor, for a `limit` above 0, if loss or norm stands out by more than that
    many standard deviations from a full window (as llm.c's outlier detector does).
    """
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    sound = finite
    if limit:
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


def _z(value: Array, window_W: Array) -> Array:
    return (value - window_W.mean()) / jnp.maximum(window_W.std(), 1e-9)
