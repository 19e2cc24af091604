"""Measures of predicted distributions, and texts of similar lengths in one batch.

Shapes: B batch, S tokens, V vocabulary, K kinds: inside a word, or beginning one.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from research.evaluation.scoring import rounded
from research.evaluation.surprisal.words import BEGINS, INSIDE

TOKENS = 2_048  # of a batch, padding included


class Measures(NamedTuple):
    """Of each token of a text, float64 or int64 (S,)."""

    log_probabilities: np.ndarray  # nats; NaN for a token with nothing before it
    entropies: np.ndarray  # of the distribution that predicts the token, nats
    ranks: np.ndarray  # 1: the most likely token; 0 where there is no prediction
    # Log-probability that a token begins a word or ends the text, if this one does; else that it does not,
    # or ends the text. There is one more, for the end of the text. Empty unless asked for.
    kinds: np.ndarray


def measure(logits_BSV: Array, targets_BS: Array, firsts_BS, kinds_V: Array | None) -> tuple[Array, ...]:
    """Log-probabilities, entropies, ranks and, with `kinds_V`, kinds of the targets, each (B, S)."""
    log_BSV = jax.nn.log_softmax(logits_BSV)
    shares_BSV = jnp.exp(log_BSV)
    target_BS1 = jnp.take_along_axis(log_BSV, targets_BS[..., None], axis=-1)
    entropies_BS = -(shares_BSV * log_BSV).sum(-1)
    ranks_BS = 1 + (log_BSV > target_BS1).sum(-1, dtype=jnp.int32)
    found = target_BS1[..., 0], entropies_BS, ranks_BS
    if kinds_V is None:
        return found
    one_of_VK = jnp.stack([kinds_V != BEGINS, kinds_V != INSIDE], axis=1).astype(jnp.float32)
    log_BSK = jnp.log(shares_BSV @ one_of_VK)
    kind_BS1 = jnp.minimum(kinds_V[targets_BS], BEGINS).astype(jnp.int32)[..., None]
    return *found, jnp.take_along_axis(log_BSK, kind_BS1, axis=-1)[..., 0]


def batches(lengths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
    """(indices of rows, number of rows to pad to) of each batch: rows of similar lengths, few shapes."""
    together: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        together[rounded(lengths[index])].append(index)
    for length, indices in together.items():
        rows = min(max(TOKENS // length, 1), 1 << (len(indices) - 1).bit_length())
        for begin in range(0, len(indices), rows):
            yield indices[begin : begin + rows], rows
