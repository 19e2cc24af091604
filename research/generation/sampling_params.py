"""Logits to the next token.

Shapes: B batch, V vocabulary.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from research.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is drawn. They apply in this order: penalty, temperature, top-k, top-p."""

    temperature: float = 1.0  # 0: the likeliest token, always
    top_k: int | None = None  # among so many
    top_p: float | None = None  # among the fewest that together have at least this probability
    repetition_penalty: float = 1.0  # above 1, what is in the text already gets less likely

    def __post_init__(self):
        if not self.temperature >= 0:
            raise UsageError(f"temperature {self.temperature}: expected 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top-k {self.top_k}: expected 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top-p {self.top_p}: expected above 0, at most 1")
        if not self.repetition_penalty > 0:
            raise UsageError(f"repetition penalty {self.repetition_penalty}: expected more than 0")


GREEDY = Sampling(temperature=0.0)


@partial(jax.jit, static_argnames="how")
def choose(logits_BV: Array, keys_B: Array, seen_BV: Array | None, how: Sampling) -> Array:
    """A token of each row (B,), drawn with the row's own key; `seen_BV` tells what is in its text."""
    if seen_BV is not None:
        logits_BV = penalized(logits_BV, seen_BV, how.repetition_penalty)
    if how.temperature == 0:
        return logits_BV.argmax(-1).astype(jnp.int32)
    logits_BV = allowed(logits_BV / how.temperature, how.top_k, how.top_p)
    return jax.vmap(jax.random.categorical)(keys_B, logits_BV).astype(jnp.int32)


def penalized(logits_BV: Array, seen_BV: Array, penalty: float) -> Array:
    """What was seen divided by `penalty` (Keskar et al., 2019), or times it where it is below zero."""
    changed = jnp.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return jnp.where(seen_BV, changed, logits_BV)


def allowed(logits_BV: Array, top_k: int | None, top_p: float | None) -> Array:
    """-inf for all but the `top_k` likeliest, and of these all but the nucleus of `top_p`.

    Tokens as likely as the last one that is allowed are allowed too, so that no order of ids decides.
    (Fan et al., 2018; Holtzman et al., 2019.)
    """
    if top_k is not None and top_k < logits_BV.shape[-1]:
        least_B1 = jax.lax.top_k(logits_BV, top_k)[0][:, -1:]
        logits_BV = jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
    if top_p is not None and top_p < 1:
        sorted_BV = -jnp.sort(-logits_BV, axis=-1)
        probabilities_BV = jax.nn.softmax(sorted_BV, axis=-1)
        before_BV = jnp.cumsum(probabilities_BV, axis=-1) - probabilities_BV
        needed_BV = jnp.where(before_BV < top_p, sorted_BV, jnp.inf)
        logits_BV = jnp.where(logits_BV < needed_BV.min(-1, keepdims=True), -jnp.inf, logits_BV)
    return logits_BV


@jax.jit
def row_keys(key: Array, rows_B: Array, index: Array) -> Array:
    """A key for each row's token number `index`: the row's own, whatever else is in the batch."""
    return jax.vmap(lambda row: jax.random.fold_in(jax.random.fold_in(key, row), index))(rows_B)
