"""Sampling settings, and the next token from a row of logits.

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
    """How to sample a token. Applied in this order: repetition penalty, temperature, top-k, top-p."""

    temperature: float = 1.0  # 0, or nearly: always the most likely token
    top_k: int | None = None  # sample from the k most likely tokens
    top_p: float | None = None  # sample from the smallest set of tokens with at least this probability
    repetition_penalty: float = 1.0  # above 1, tokens that are already in the text become less likely

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
LOWEST = 1e-6  # a temperature by which logits can be divided in float32


@partial(jax.jit, static_argnames="sampling")
def sample_tokens(logits_BV: Array, keys_B: Array, seen_BV: Array | None, sampling: Sampling) -> Array:
    """Sample one token for each row, with the row's own key: int32 (B,).

    `seen_BV` marks the tokens that are already in each row's text; None means no repetition penalty.
    """
    if seen_BV is not None:
        logits_BV = penalize_repetition(logits_BV, seen_BV, sampling.repetition_penalty)
    if sampling.temperature < LOWEST:
        return logits_BV.argmax(-1).astype(jnp.int32)
    logits_BV = filter_logits(logits_BV / sampling.temperature, sampling.top_k, sampling.top_p)
    return jax.vmap(jax.random.categorical)(keys_B, logits_BV).astype(jnp.int32)


def penalize_repetition(logits_BV: Array, seen_BV: Array, penalty: float) -> Array:
    """Divide the positive logits of seen tokens by `penalty`, and multiply the negative ones by it.

    Keskar et al. (2019).
    """
    changed = jnp.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return jnp.where(seen_BV, changed, logits_BV)


def filter_logits(logits_BV: Array, top_k: int | None, top_p: float | None) -> Array:
    """Set all logits to -inf except the `top_k` largest, and except the nucleus of `top_p` among these.

    Tokens that tie with the last token kept are kept too, so that the order of ids decides nothing.
    Fan et al. (2018), Holtzman et al. (2019).
    """
    if top_k is not None and top_k < logits_BV.shape[-1]:
        least_B1 = jax.lax.top_k(logits_BV, top_k)[0][:, -1:]
        logits_BV = jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
    if top_p is not None and top_p < 1:
        sorted_BV = -jnp.sort(-logits_BV, axis=-1)
        probabilities_BV = jax.nn.softmax(sorted_BV, axis=-1)
        before_BV = jnp.cumsum(probabilities_BV, axis=-1) - probabilities_BV
        nucleus_BV = jnp.where(before_BV < top_p, sorted_BV, jnp.inf)
        logits_BV = jnp.where(logits_BV < nucleus_BV.min(-1, keepdims=True), -jnp.inf, logits_BV)
    return logits_BV


@jax.jit
def row_keys(key: Array, rows_B: Array, index: Array) -> Array:
    """A key for token number `index` of each row. It does not depend on the other rows of the batch."""
    return jax.vmap(lambda row: jax.random.fold_in(jax.random.fold_in(key, row), index))(rows_B)
