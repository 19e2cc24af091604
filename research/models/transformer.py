"""The blocks that the three models share, and the loop that runs them, in training and in decoding.

Modules are plain pytrees of parameters. A call takes a `key` for dropout; without a key there is none.
Shapes: B batch, L length, S source length, H heads, K head size, D width, N depth.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from operator import is_, itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from research.config import Model, scaling
from research.config.names import ACTIVATIONS
from research.models.attention import Attend, AttentionMask, attend_by, choose
from research.models.axes import split_rows, with_depth
from research.models.linear import Initializer, Linear
from research.models.ops.dropout import dropout, dropout_mask
from research.models.parts.activations import activation, is_gated
from research.models.parts.norms import RMSNorm, norm
from research.models.parts.positions import Rotate
from research.models.platform import platform

MOST_UNROLLED = 48  # blocks; more take minutes to compile
GATE = 2  # folded into an MLP's key for its gate, so that the other kernels are drawn as without one


class BlockCache(NamedTuple):
    """A block's keys and values of earlier positions, for decoding; `position` is the next one to fill."""

    keys_BSHK: Array
    values_BSHK: Array
    position: Array


class Attention(nnx.Module):
    def __init__(self, config: Model, init: Initializer, init_output: Initializer, *, key: Array):
        key_qkv, key_output = jax.random.split(key)
        width = config.width
        linear = partial(Linear, bias=config.bias, precision=config.precision, heads=config.heads)
        self.qkv = linear(width, (3, width), init, key=key_qkv, axes=("fsdp", None, "tensor"))
        self.output = linear(width, (width,), init_output, key=key_output, axes=("tensor", "fsdp"))
        size, epsilon = width // config.heads, config.norm_epsilon
        self.query_norm = RMSNorm(size, epsilon) if config.qk_norm else None
        self.key_norm = RMSNorm(size, epsilon) if config.qk_norm else None
        self.heads, self.query_multiplier = config.heads, scaling.query_multiplier(config)
        self.dropout, self.generator = config.dropout, config.dropout_generator

    def __call__(
        self, x_BLD: Array, attend: Attend, rotate: Rotate, key: Array | None, cache: BlockCache | None
    ) -> tuple[Array, BlockCache | None]:
        B, L, D = x_BLD.shape
        qkv = self.qkv(x_BLD).reshape(B, L, 3, self.heads, D // self.heads)
        q, k, v = (part.squeeze(2) for part in jnp.split(qkv, 3, axis=2))
        if self.query_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if self.query_multiplier != 1:
            q = self.query_multiplier * q
        q, k = rotate(q, k)
        if cache is not None:
            k = lax.dynamic_update_slice_in_dim(cache.keys_BSHK, k, cache.position, axis=1)
            v = lax.dynamic_update_slice_in_dim(cache.values_BSHK, v, cache.position, axis=1)
            cache = BlockCache(k, v, cache.position + L)
        mask = dropout_mask((B, self.heads, L, k.shape[1]), self.dropout, key, x_BLD.dtype, self.generator)
        y = attend(q, k, v, mask)
        return self.output(y.reshape(B, L, D)), cache


class MLP(nnx.Module):
    def __init__(self, config: Model, init: Initializer, init_output: Initializer, *, key: Array):
        key_expand, key_output = jax.random.split(key)
        width, hidden = config.width, config.mlp_width
        linear = partial(Linear, bias=config.bias, precision=config.precision)
        self.expand = linear(width, (hidden,), init, key=key_expand)
        gated = is_gated(ACTIVATIONS[config.activation])
        key_gate = jax.random.fold_in(key, GATE) if gated else None
        self.gate = linear(width, (hidden,), init, key=key_gate) if gated else None
        self.output = linear(hidden, (width,), init_output, key=key_output, axes=("tensor", "fsdp"))
        self.activation, self.own = config.activation, config.own.activation

    def __call__(self, x_BLD: Array) -> Array:
        hidden = self.expand(x_BLD)
        inputs = hidden if self.gate is None else (hidden, self.gate(x_BLD))
        return self.output(inputs, activation(self.activation, self.own))


class Block(nnx.Module):
    """Attention and MLP, two residual branches, normalized before (GPT-2) or after the sum (GPT-1, BERT)."""

    def __init__(self, config: Model, init: Initializer, init_output: Initializer, *, key: Array):
        key_attention, key_mlp = jax.random.split(key)
        self.attention = Attention(config, init, init_output, key=key_attention)
        self.attention_norm = norm(config)
        self.mlp = MLP(config, init, init_output, key=key_mlp)
        self.mlp_norm = norm(config)
        self.norm_first = config.norm == "pre"
        self.dropout, self.generator = config.dropout, config.dropout_generator

    def __call__(
        self,
        x_BLD: Array,
        attend: Attend,
        rotate: Rotate,
        key: Array | None = None,
        cache: BlockCache | None = None,
    ) -> tuple[Array, BlockCache | None]:
        """The next state, and the cache, if any, extended by L positions."""
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        drop = partial(dropout, rate=self.dropout, generator=self.generator)
        if self.norm_first:
            y, cache = self.attention(self.attention_norm(x_BLD), attend, rotate, keys[0], cache)
            x_BLD = x_BLD + drop(y, key=keys[1])
            return x_BLD + drop(self.mlp(self.mlp_norm(x_BLD)), key=keys[2]), cache
        y, cache = self.attention(x_BLD, attend, rotate, keys[0], cache)
        x_BLD = self.attention_norm(x_BLD + drop(y, key=keys[1]))
        return self.mlp_norm(x_BLD + drop(self.mlp(x_BLD), key=keys[2])), cache


_frozen_blocks: ContextVar[tuple[int, Any, Any]] = ContextVar("frozen blocks", default=(0, None, None))
Blocks = Block | tuple[Block, ...]  # one stacked Block with a leading axis N, or N of them


def stack(config: Model, init: Initializer, init_output: Initializer, *, key: Array) -> Block:
    """Stacks `depth` blocks: each parameter gets a leading axis N, so compile time does not grow with N."""
    keys = jax.random.split(key, config.depth)
    return with_depth(jax.vmap(lambda key: Block(config, init, init_output, key=key))(keys))


def unstack(blocks: Block, depth: int) -> tuple[Block, ...]:
    """Unstacks blocks, for decoding.

    A compiled loop over a stack copies each block out of it. This is cheap compared to the products of a
    whole batch, but more expensive than decoding one token.
    """
    return tuple(jax.tree.map(itemgetter(n), blocks) for n in range(depth))


def run_blocks(
    blocks: Blocks,
    config: Model,
    x_BLD: Array,
    attention_mask: AttentionMask,
    rotate: Rotate,
    key: Array | None = None,
    caches: tuple[BlockCache, ...] | None = None,
) -> tuple[Array, Array | tuple[Array, ...], tuple[BlockCache, ...] | None]:
    """Runs the blocks: returns the last state, the states after each block, and the extended caches.

    A stack runs as a compiled loop and takes no caches.
    """
    keys = None if key is None else jax.random.split(key, config.depth)
    attend = _attend(config, attention_mask, x_BLD.shape[1], key is not None, caches)
    if isinstance(blocks, tuple):
        return _one_by_one(blocks, x_BLD, attend, rotate, keys, caches)
    return *_in_a_loop(blocks, config, x_BLD, attend, rotate, keys), None


def _attend(
    config: Model, mask: AttentionMask, length: int, trains: bool, caches: tuple[BlockCache, ...] | None
) -> Attend:
    """The attention of every block, of `length` queries."""
    if caches is not None:
        return attend_by("xla", mask, length, caches[0].keys_BSHK.shape[1])
    documents, own = mask.documents_BL is not None, type(mask) is not AttentionMask
    return attend_by(choose(config, trains, documents, length, own).used, mask, length, length)


def _one_by_one(
    blocks: tuple[Block, ...],
    x_BLD: Array,
    attend: Attend,
    rotate: Rotate,
    keys: Array | None,
    caches: tuple[BlockCache, ...] | None,
) -> tuple[Array, tuple[Array, ...], tuple[BlockCache, ...] | None]:
    states, grown = [], []
    for n, block in enumerate(blocks):
        cache = None if caches is None else caches[n]
        x_BLD, cache = block(x_BLD, attend, rotate, None if keys is None else keys[n], cache)
        states.append(x_BLD)
        grown.append(cache)
    return x_BLD, tuple(states), None if caches is None else tuple(grown)


def _in_a_loop(
    blocks: Block, config: Model, x_BLD: Array, attend: Attend, rotate: Rotate, keys: Array | None
) -> tuple[Array, Array]:
    """The last state, and all of them (N, B, L, D); frozen first blocks have a loop of their own."""

    def step(x, layer):
        block, key = layer
        x, _ = block(split_rows(x), attend, rotate, key)
        return split_rows(x), x

    step, unroll = rematerialized(step, config), blocks_in_a_turn(config)
    count, before, merged = _frozen_blocks.get()
    if not (0 < count < config.depth and all(map(is_, *map(jax.tree.leaves, (merged, blocks))))):
        return lax.scan(step, x_BLD, (blocks, keys), unroll=unroll)

    def frozen_step(x, n):
        return step(x, jax.tree.map(itemgetter(n), (before, keys)))  # a slice of them would be a copy

    above = jax.tree.map(itemgetter(slice(count, None)), (blocks, keys))
    x_BLD, states_below = lax.scan(frozen_step, x_BLD, jnp.arange(count), unroll=min(unroll, count))
    x_BLD, states_above = lax.scan(step, x_BLD, above, unroll=min(unroll, config.depth - count))
    return x_BLD, jnp.concatenate([states_below, states_above])


@contextmanager
def frozen_blocks_are(count: int, before: Any, merged: Any) -> Iterator[None]:
    """Traces the model `merged`, whose first `count` blocks are those of `before`, with a loop for them.

    One loop over all blocks would compute the gradients of all. If the blocks' input does not train either,
    there is no backward pass through these blocks, and it keeps none of their states.
    """
    token = _frozen_blocks.set((count, before.blocks, merged.blocks) if count else (0, None, None))
    try:
        yield
    finally:
        _frozen_blocks.reset(token)


def blocks_in_a_turn(config: Model) -> int:
    """Resolves `model.unroll`. On a GPU the loop's arrays of saved states cost a sixth of a step."""
    if config.unroll != "auto":
        return min(config.unroll, config.depth)
    return config.depth if platform() == "gpu" and config.depth <= MOST_UNROLLED else 1


def rematerialized(step: Callable, config: Model) -> Callable:
    """Wraps `step` to save all arrays (`none`), matrix products (`dots`) or its input for the backward pass.

    A loop computes one block after the other. In unrolled blocks a compiler may merge the recomputation with
    the first computation, or delay all gradients of parameters and keep their inputs.
    """
    if config.remat == "none":
        return step
    policies = {
        "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # scores are recomputed
        "block": jax.checkpoint_policies.nothing_saveable,
    }
    unrolled = blocks_in_a_turn(config) > 1

    def ordered(x, layer):
        block, key = layer
        x, block = _gradients_together((x, block)) if unrolled else (x, block)
        return step(x, (block, key))

    return jax.checkpoint(ordered, policy=policies[config.remat], prevent_cse=unrolled)


@jax.custom_vjp
def _gradients_together(arrays: Any) -> Any:
    """`arrays`, with a barrier: none of their gradients is used before all are computed."""
    return arrays


_gradients_together.defvjp(
    lambda arrays: (arrays, None), lambda _, gradients: (lax.optimization_barrier(gradients),)
)
