"""A GPT a few tokens at a time, with the keys and values of those before them kept.

Rows of uneven lengths are filled up on their left, so that all go on from the same place.
Shapes: B batch, L length, S places in the cache, C context, D width, V vocabulary, H heads, K head size.
"""

from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from research.config import Model
from research.models.attention import AttentionMask, attend_by
from research.models.gpt import GPT
from research.models.parameters import name
from research.models.precision import compute_dtype
from research.models.transformer import Block, BlockCache, LayerNorm


@struct.dataclass
class Decoder:
    """A model's parameters for decoding, block by block.

    A loop over a stack copies each block out of it: nothing beside the products of a whole batch, but more
    than all else that a single token costs.
    """

    tokens_VD: Array
    positions_CD: Array
    output_VD: Array  # the token table in the type of the activations, as are all matrices
    blocks: tuple[Block, ...]
    norm: LayerNorm | None
    config: Model = struct.field(pytree_node=False)


class Cache(NamedTuple):
    keys: tuple[Array, ...]  # of each block (B, S, H, K)
    values: tuple[Array, ...]
    position: Array  # the place that is filled next
    padding_B: Array  # how many of a row's first places are padding


def decoder(model: GPT) -> Decoder:
    """`model`, taken apart."""
    dtype = compute_dtype(model.config.precision)

    def of_type(path, leaf):
        return leaf if "norm" in name(path) else leaf.astype(dtype)

    @jax.jit
    def apart(blocks):
        blocks = jax.tree_util.tree_map_with_path(of_type, blocks)
        return tuple(jax.tree.map(itemgetter(n), blocks) for n in range(model.config.depth))

    tokens_VD = model.tokens[...]
    return Decoder(
        tokens_VD,
        model.positions[...],
        tokens_VD.astype(dtype),
        apart(model.blocks),
        model.norm,
        model.config,
    )


def empty(config: Model, padding_B: Array, places: int) -> Cache:
    """A cache of nothing yet, for rows that begin with so much padding."""
    shape = (len(padding_B), places, config.heads, config.width // config.heads)
    keys, values = (
        tuple(jnp.zeros(shape, compute_dtype(config.precision)) for _ in range(config.depth))
        for _ in range(2)
    )
    return Cache(keys, values, jnp.int32(0), jnp.asarray(padding_B, jnp.int32))


def decode(decoder: Decoder, tokens_BL: Array, cache: Cache) -> tuple[Array, Cache]:
    """The final states (B, L, D) of tokens that follow those in `cache`, and the cache grown by them.

    States of padding mean nothing.
    """
    config, length = decoder.config, tokens_BL.shape[1]
    places_BL = cache.position + jnp.arange(length) - cache.padding_B[:, None]
    x_BLD = decoder.tokens_VD[tokens_BL] + decoder.positions_CD[jnp.maximum(places_BL, 0)]
    x_BLD = x_BLD.astype(compute_dtype(config.precision))
    attention_mask = AttentionMask(causal=True, start=cache.position, padding_B=cache.padding_B)
    attend = attend_by("xla", attention_mask, length, cache.keys[0].shape[1])
    seen = []
    for block, keys, values in zip(decoder.blocks, cache.keys, cache.values, strict=True):
        x_BLD, grown = block(x_BLD, attend, seen=BlockCache(keys, values, cache.position))
        seen.append(grown)
    x_BLD = x_BLD if decoder.norm is None else decoder.norm(x_BLD)
    keys, values = zip(*seen, strict=True)
    return x_BLD, Cache(keys, values, cache.position + length, cache.padding_B)


def logits(decoder: Decoder, x_BLD: Array) -> Array:
    """(B, L, V), float32."""
    return jnp.einsum("BLD,VD->BLV", x_BLD, decoder.output_VD, preferred_element_type=jnp.float32)


def reordered(cache: Cache, rows_B: Array) -> Cache:
    """The cache of other rows: each of the new ones goes on from one of the old."""
    keys, values, padding_B = jax.tree.map(lambda x: x[rows_B], (cache.keys, cache.values, cache.padding_B))
    return Cache(keys, values, cache.position, padding_B)
