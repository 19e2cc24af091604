"""Decoding a GPT a few tokens at a time, with the keys and values of earlier positions cached.

Rows of different lengths are padded on the left, so that all continue at the same position.
Shapes: B batch, L length, S cache size, D width, V vocabulary, H heads, K head size.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from research.config import Model
from research.models.attention import AttentionMask
from research.models.gpt import GPT
from research.models.parameters import name
from research.models.precision import compute_dtype
from research.models.transformer import Block, BlockCache, unstack


class Cache(NamedTuple):
    keys: tuple[Array, ...]  # of each block (B, S, H, K)
    values: tuple[Array, ...]
    position: Array  # the next position to fill
    padding_B: Array  # number of padding tokens at the start of each row


def decoder(model: GPT) -> GPT:
    """Converts `model` for decoding: unstacked blocks, matrices in the type of the activations.

    The output table is a separate copy, converted once instead of at every token.
    """
    if isinstance(model.blocks, tuple):
        return model
    dtype = compute_dtype(model.config.precision)
    table = model.tokens if model.output is None else model.output
    copy = jax.tree.map(lambda leaf: leaf, model)
    copy.blocks = nnx.data(_converted(model.blocks, model.config.depth, dtype))
    copy.output = nnx.data(nnx.Param(table[...].astype(dtype)))
    return copy


@partial(jax.jit, static_argnums=(1, 2))
def _converted(blocks: Block, depth: int, dtype: jnp.dtype) -> tuple[Block, ...]:
    """Unstacked blocks with matrices of `dtype`."""

    def convert(path, leaf):
        return leaf if "norm" in name(path) else leaf.astype(dtype)

    return unstack(jax.tree_util.tree_map_with_path(convert, blocks), depth)


def empty(config: Model, padding_B: Array | np.ndarray, places: int) -> Cache:
    """An empty cache with room for `places` tokens per row, for rows that begin with padding."""
    shape = (len(padding_B), places, config.heads, config.width // config.heads)
    keys, values = (
        tuple(jnp.zeros(shape, compute_dtype(config.precision)) for _ in range(config.depth))
        for _ in range(2)
    )
    return Cache(keys, values, jnp.int32(0), jnp.asarray(padding_B, jnp.int32))


def decode(decoder: GPT, tokens_BL: Array, cache: Cache) -> tuple[Array, Cache]:
    """Decodes tokens that follow those in `cache`: their final states (B, L, D), and the extended cache.

    States of padding are arbitrary.
    """
    length, start = tokens_BL.shape[1], cache.position
    places_BL = jnp.maximum(start + jnp.arange(length) - cache.padding_B[:, None], 0)
    mask = AttentionMask(causal=True, start=start, padding_B=cache.padding_B)
    pairs = zip(cache.keys, cache.values, strict=True)
    caches = tuple(BlockCache(keys, values, start) for keys, values in pairs)
    found = decoder.forward(tokens_BL, mask, places_BL=places_BL, caches=caches)
    keys, values, _ = zip(*found.caches, strict=True)
    return found.final_BLD, Cache(keys, values, start + length, cache.padding_B)


def reorder(cache: Cache, rows_B: Array | np.ndarray) -> Cache:
    """Reorders the rows of a cache: each new row continues one of the old rows."""
    keys, values, padding_B = jax.tree.map(lambda x: x[rows_B], (cache.keys, cache.values, cache.padding_B))
    return Cache(keys, values, cache.position, padding_B)
