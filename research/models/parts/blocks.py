"""Blocks, chosen by `model.block`.

A block is a module, constructed as `block(config, init, init_output, key=key)` and called as `Block` is;
`init_output` draws the kernels that end a residual branch. Most subclass `Block` and replace its attention,
its MLP or its call. Parameters are created by `research.models.axes.parameter`. Those called `kernel` are
matrices (in, …out), which Muon orthogonalizes; `stacked` modules called `experts` have one more axis before.
A block may add to the loss with `auxiliary_loss`.

Shapes: B batch, L length, S source length, H heads, K head size, D width.
"""

from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from research.config import Model, scaling
from research.config.names import ACTIVATIONS, BLOCKS
from research.models.attention import Attend
from research.models.linear import Initializer, Linear
from research.models.ops.dropout import Mask, dropout, dropout_mask
from research.models.parts.activations import activation, is_gated
from research.models.parts.norms import RMSNorm, norm
from research.models.parts.positions import Rotate
from research.models.precision import compute_dtype
from research.models.sites import is_observed, site
from research.scoped import Scoped

GATE = 2  # folded into an MLP's key for its gate, so that the other kernels are drawn as without one

auxiliary_losses = Scoped[list[Array] | None]("what blocks add to the loss", None)


def auxiliary_loss(loss: Array) -> None:
    """Adds `loss`, a mean over the tokens (), to the training loss: for use in a block's call.

    The losses of all blocks add up, and are `auxiliary_loss` in the metrics. Evaluations leave them out.
    """
    added = auxiliary_losses.get()
    if added is not None:
        added.append(loss.astype(jnp.float32))


class BlockCache(NamedTuple):
    """A block's keys and values of earlier positions, for decoding."""

    keys_BSHK: Array
    values_BSHK: Array

    def extended(self, k: Array, v: Array, start: Array | int) -> "BlockCache":
        """With the keys and values of L more positions, from `start` on."""
        pairs = zip(self, (k, v), strict=True)
        return BlockCache(*(lax.dynamic_update_slice_in_dim(old, new, start, axis=1) for old, new in pairs))


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
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if self.query_multiplier != 1:
            q = self.query_multiplier * q
        q, k = rotate(q, k)
        q, k, v = site("attention/query", q), site("attention/key", k), site("attention/value", v)
        if cache is not None:
            k, v = cache = cache.extended(k, v, attend.mask.first)
        mask = dropout_mask((B, self.heads, L, k.shape[1]), self.dropout, key, x_BLD.dtype, self.generator)
        y = site("attention/heads", self.mix(q, k, v, attend, mask))
        return self.output(y.reshape(B, L, D)), cache

    def mix(self, q: Array, k: Array, v: Array, attend: Attend, mask: Mask | None) -> Array:
        """Attends with normalized, rotated q (B, L, H, K) and all k and v (B, S, H, K)."""
        return attend(q, k, v, mask)


class MLP(nnx.Module):
    def __init__(self, config: Model, init: Initializer, init_output: Initializer, *, key: Array):
        key_expand, key_output = jax.random.split(key)
        width, hidden = config.width, config.mlp_width
        linear = partial(Linear, bias=config.bias, precision=config.precision)
        self.expand = linear(width, (hidden,), init, key=key_expand)
        gated = is_gated(ACTIVATIONS[config.activation])
        self.gate = linear(width, (hidden,), init, key=jax.random.fold_in(key, GATE)) if gated else None
        self.output = linear(hidden, (width,), init_output, key=key_output, axes=("tensor", "fsdp"))
        self.activation, self.own = config.activation, config.own.activation

    def __call__(self, x_BLD: Array) -> Array:
        apply = activation(self.activation, self.own)
        hidden = (site("mlp/hidden", self.expand(x_BLD)),)
        if self.gate is not None:
            hidden += (site("mlp/gate", self.gate(x_BLD)),)
        if is_observed():
            return self.output(site("mlp/features", apply(*hidden)))
        return self.output(hidden, apply)


@BLOCKS.register("transformer")
class Block(nnx.Module):
    """Attention and MLP, two residual branches, normalized before (GPT-2) or after the sum (GPT-1, BERT)."""

    attention_class: ClassVar[Any] = Attention
    mlp_class: ClassVar[Any] = MLP
    reads_layer: ClassVar[bool] = False  # whether the call reads its number, `attend.layer`

    def __init__(self, config: Model, init: Initializer, init_output: Initializer, *, key: Array):
        key_attention, key_mlp = jax.random.split(key)
        self.attention = self.attention_class(config, init, init_output, key=key_attention)
        self.attention_norm = norm(config)
        self.mlp = self.mlp_class(config, init, init_output, key=key_mlp)
        self.mlp_norm = norm(config)
        self.norm_first = config.norm == "pre"
        self.dropout, self.generator = config.dropout, config.dropout_generator

    @staticmethod
    def empty_cache(config: Model, rows: int, places: int) -> Any:
        """A cache with room for `places` tokens per row: a tree of arrays whose first axis is the rows."""
        shape = (rows, places, config.heads, config.width // config.heads)
        return BlockCache(*(jnp.zeros(shape, compute_dtype(config.precision)) for _ in range(2)))

    def __call__(
        self,
        x_BLD: Array,
        attend: Attend,
        rotate: Rotate,
        key: Array | None = None,
        cache: Any = None,
    ) -> tuple[Array, Any]:
        """The next state, and the cache, if any, extended by L positions from `attend.mask.start` on."""
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        drop = partial(dropout, rate=self.dropout, generator=self.generator)
        inputs = site("attention/input", self.attention_norm(x_BLD) if self.norm_first else x_BLD)
        y_BLD, cache = self.attention(inputs, attend, rotate, keys[0], cache)
        x_BLD = x_BLD + drop(site("attention/output", y_BLD), key=keys[1])
        x_BLD = site("middle", x_BLD if self.norm_first else self.attention_norm(x_BLD))
        inputs = site("mlp/input", self.mlp_norm(x_BLD) if self.norm_first else x_BLD)
        x_BLD = x_BLD + drop(site("mlp/output", self.mlp(inputs)), key=keys[2])
        return x_BLD if self.norm_first else self.mlp_norm(x_BLD), cache
