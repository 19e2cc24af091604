"""Attention: which keys a query attends to, and its computation by one of the implementations.

Shapes: B batch, L queries, S keys, H heads, K head size.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from research.models.axes import on_each_device
from research.models.ops.attention import Segments, attention, plain_attention
from research.models.ops.dropout import Mask
from research.models.platform import platform
from research.models.sites import is_observed

HIDDEN = -1  # number of a key that no query attends to

Compute = Callable[[Array, Array, Array, Mask | None], Array]  # q, k, v, dropout mask → (B, L, H, K)


class AttentionMask(NamedTuple):
    """Attention mask specification: fields that are set, except `bias`, restrict the keys of a query."""

    causal: bool  # keys at and before the query's position
    lengths_B: Array | None = None  # number of keys before the padding at the end of each row
    start: Array | None = None  # the first query's position, if a cache holds earlier keys
    padding_B: Array | None = None  # number of padding keys at the start of each row
    documents_BL: Array | None = None  # keys of the query's own document, by number
    bias: Array | None = None  # added to the scores, broadcasts to (B, H, L, S)

    @property
    def first(self) -> Array | int:
        """The first query's position."""
        return 0 if self.start is None else self.start

    def mask(self, queries: int, keys: int) -> Array | None:
        """The boolean mask, True where to attend, broadcasting to (B, H, L, S); None: attend everywhere."""
        masks = []
        if self.causal:
            positions_L = jnp.arange(queries) + self.first
            masks.append((positions_L[:, None] >= jnp.arange(keys)[None, :])[None, None])
        if self.lengths_B is not None:
            masks.append((jnp.arange(keys) < self.lengths_B[:, None])[:, None, None])
        if self.padding_B is not None:
            masks.append((jnp.arange(keys) >= self.padding_B[:, None])[:, None, None])
        if self.documents_BL is not None:
            masks.append((self.documents_BL[:, :, None] == self.documents_BL[:, None, :])[:, None])
        if not masks:
            return None
        mask, *others = masks
        for other in others:
            mask = mask & other
        return mask

    def segments(self, queries: int, keys: int) -> Segments | None:
        """Segment ids of queries (B, L) and keys (B, S), equal where padding and documents allow attention.

        None: allowed everywhere, apart from `causal`.
        """
        padding_B = self.lengths_B if self.padding_B is None else self.padding_B
        if self.documents_BL is not None:
            queries_BL = keys_BS = self.documents_BL
        elif padding_B is not None:
            rows = len(padding_B)
            queries_BL, keys_BS = jnp.zeros((rows, queries), jnp.int32), jnp.zeros((rows, keys), jnp.int32)
        else:
            return None
        seen = self._replace(causal=False, documents_BL=None).mask(queries, keys)
        return queries_BL, keys_BS if seen is None else jnp.where(seen[:, 0, 0], keys_BS, HIDDEN)


class Attend(NamedTuple):
    """What a block's attention is given: attends with q, k and v (B, L, H, K), under one mask for all blocks.

    An attention of another package may compute by itself, and read `mask`; or call this, also several times,
    with heads of its own number and size, which only XLA's attention supports.
    """

    mask: AttentionMask
    compute: Compute
    heads: tuple[int, int]  # number and size that `compute` was chosen for
    queries: int
    keys: int
    layer: Array | int | None = None  # the block's number from 0, if its class has `reads_layer`

    def __call__(self, q: Array, k: Array, v: Array, dropout_mask: Mask | None = None) -> Array:
        declared = all(x.shape[2:] == self.heads for x in (q, k, v))
        compute = self.compute if declared else attend_by("xla", self.mask, self.queries, self.keys)
        return compute(q, k, v, dropout_mask)


def attend_by(
    implementation: str, attention_mask: AttentionMask, queries: int, keys: int, interpret: bool = False
) -> Compute:
    """Attention under `attention_mask`, with the mask computed once for all layers.

    `interpret` runs the kernels of flash and splash on any device, slowly.
    """
    if implementation == "cudnn":
        return by_library(attention_mask, "cudnn")
    if implementation == "splash":
        return _by_splash(attention_mask, queries, keys, interpret)
    if implementation == "flash":
        return _by_flash(attention_mask, queries, keys, interpret)
    mask, bias = attention_mask.mask(queries, keys), attention_mask.bias
    causal = attention_mask.causal and attention_mask.start is None
    if bias is not None or is_observed():
        return lambda q, k, v, dropout_mask: plain_attention(q, k, v, mask, dropout_mask, bias)
    return lambda q, k, v, dropout_mask: attention(q, k, v, mask, dropout_mask, causal)


def _by_splash(attention_mask: AttentionMask, queries: int, keys: int, interpret: bool) -> Compute:
    from research.models.ops.splash import splash

    segments = attention_mask.segments(queries, keys)

    def on_each(place, qkv, segments, whole):
        attend = splash(qkv[0].shape[2], queries, keys, attention_mask.causal, segments, interpret)
        return attend(*qkv)

    return lambda q, k, v, dropout_mask: on_each_device(on_each, (q, k, v), segments)


def _by_flash(attention_mask: AttentionMask, queries: int, keys: int, interpret: bool) -> Compute:
    from research.models.ops.flash.pair import Options

    if platform() == "tpu":
        from research.models.ops.flash.tpu import flash
    else:
        from research.models.ops.flash.gpu import flash

    segments = attention_mask.segments(queries, keys)

    def on_each(rows, place, qkv, segments, seed):
        row, head, heads = jnp.uint32(place[0]), jnp.uint32(place[1]), place[2]
        if seed is not None and seed.shard is not None:
            row = row + seed.shard * jnp.uint32(rows)
        options = Options(attention_mask.causal, heads, interpret)
        return flash(qkv, segments, seed, (row, head), options)

    def attend(q, k, v, seed):
        # The projection's result was split into q, k and v: the compiler sees that this joins them again.
        return on_each_device(partial(on_each, len(q)), jnp.stack([q, k, v], axis=2), segments, seed)

    return attend


def by_library(attention_mask: AttentionMask, implementation: Literal["xla", "cudnn"]) -> Compute:
    """JAX's own attention, without dropout of probabilities and without a cache."""
    return lambda q, k, v, dropout_mask: jax.nn.dot_product_attention(
        q,
        k,
        v,
        is_causal=attention_mask.causal,
        key_value_seq_lengths=attention_mask.lengths_B,
        implementation=implementation,
    )
