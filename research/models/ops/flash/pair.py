"""Masking and dropout of the scores of a block of queries and a block of keys, for fused attention.

Queries may be along either axis of the scores: the positions of queries and keys broadcast to them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from research.models.ops.attention import NEGATIVE, Segments
from research.models.ops.dropout import Seed, hashed_at, limit_of

First = tuple[Array, Array]  # indices of a device's first row and first head, for the dropout mask


class Options(NamedTuple):
    causal: bool
    heads: int  # on all devices together
    interpret: bool  # runs the kernels on any device, slowly


class Drops(NamedTuple):
    """The seed of a dropout mask, for the kernels."""

    words: Array  # uint32 (4,): the seed's two, the limit, padding: GPU arrays have power-of-2 sizes
    first: Array  # uint32 (2,): row and head
    scale: Array  # float32 (1,)


def drops_of(seed: Seed | None, first: First) -> Drops | None:
    """None: nothing is dropped."""
    if seed is None:
        return None
    return Drops(
        words=jnp.stack([seed.words[0], seed.words[1], limit_of(seed.rate), jnp.uint32(0)]),
        first=jnp.stack([jnp.asarray(number).astype(jnp.uint32) for number in first]),
        scale=1 / (1 - seed.rate)[None],
    )


class Pair(NamedTuple):
    """A block of queries and a block of keys, by positions and segments."""

    q_at: Array  # int32
    k_at: Array  # int32
    segments: Segments | None = None

    def hidden(self, scores: Array, causal: bool) -> Array:
        """Masks the `scores` of keys that a query does not attend to."""
        if causal:
            scores = jnp.where(self.q_at >= self.k_at, scores, NEGATIVE)
        if self.segments is None:
            return scores
        return jnp.where(self.segments[0] == self.segments[1], scores, NEGATIVE)

    def kept(self, drops: Drops | None, row: Array, head: Array, heads: int, length: int) -> Array | None:
        """Which probabilities dropout keeps, as in `dropout.factors`; None: all.

        `row` and `head` are indices on the device; `heads` counts those of all devices.
        """
        if drops is None:
            return None
        row, head = (drops.first[n] + at.astype(jnp.uint32) for n, at in enumerate((row, head)))
        first = (row * jnp.uint32(heads) + head) * jnp.uint32(length)
        queries, keys = first + self.q_at.astype(jnp.uint32), self.k_at.astype(jnp.uint32)
        return hashed_at(drops.words[0], drops.words[1], queries, keys) >= drops.words[2]


def dropped(x: Array, kept: Array | None, drops: Drops | None) -> Array:
    return x if kept is None or drops is None else jnp.where(kept, x * drops.scale[0], 0.0)


def scope(seed: Seed | None, options: Options):
    """Names a launch, so that `lineage plan` can tell how much it computes."""
    causal, drops = "causal" if options.causal else "full", "kept" if seed is None else "dropout"
    return jax.named_scope(f"{causal}/{drops}")
