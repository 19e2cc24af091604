"""Decoding a GPT a few tokens at a time, with the keys and values of earlier positions cached.

Rows of different lengths are padded on the left, so that all continue at the same position.
Shapes: B batch, L length, D width, V vocabulary.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from research.config import Model
from research.config.names import BLOCKS
from research.models.attention import AttentionMask
from research.models.gpt import GPT
from research.models.parameters import path_name
from research.models.parts.blocks import Block
from research.models.precision import compute_dtype
from research.models.transformer import unstack


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["blocks", "position", "padding_B"],
    meta_fields=["places"],
)
@dataclass(frozen=True)
class Cache:
    blocks: tuple[Any, ...]  # of each block; arrays of a tree have the rows as their first axis
    position: Array  # the next position to fill
    padding_B: Array  # number of padding tokens at the start of each row
    places: int  # positions that there is room for


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
        return leaf if "norm" in path_name(path) else leaf.astype(dtype)

    return unstack(jax.tree_util.tree_map_with_path(convert, blocks), depth)


def empty(config: Model, padding_B: Array | np.ndarray, places: int) -> Cache:
    """An empty cache with room for `places` tokens per row, for rows that begin with padding."""
    empty_cache = BLOCKS[config.block].empty_cache
    blocks = tuple(empty_cache(config, len(padding_B), places) for _ in range(config.depth))
    return Cache(blocks, jnp.int32(0), jnp.asarray(padding_B, jnp.int32), places)


def decode(decoder: GPT, tokens_BL: Array, cache: Cache) -> tuple[Array, Cache]:
    """Decodes tokens that follow those in `cache`: their final states (B, L, D), and the extended cache.

    States of padding are arbitrary.
    """
    length, start = tokens_BL.shape[1], cache.position
    places_BL = jnp.maximum(start + jnp.arange(length) - cache.padding_B[:, None], 0)
    mask = AttentionMask(causal=True, start=start, padding_B=cache.padding_B)
    found = decoder.forward(tokens_BL, mask, places_BL=places_BL, caches=cache.blocks, places=cache.places)
    return found.final_BLD, replace(cache, blocks=found.caches, position=start + length)


def reorder(cache: Cache, rows_B: Array | np.ndarray) -> Cache:
    """Reorders the rows of a cache: each new row continues one of the old rows."""
    blocks, padding_B = jax.tree.map(lambda x: x[rows_B], (cache.blocks, cache.padding_B))
    return replace(cache, blocks=blocks, padding_B=padding_B)
