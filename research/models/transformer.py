"""What the three models share: linear layers, norms, attention, the MLP, the block, the stack of blocks.

Modules are plain pytrees of parameters: a call takes a `key` for its dropout, and without one it is
deterministic. Shapes: B batch, L length, S source length, H heads, K head size, D width, N depth.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jax.sharding import PartitionSpec

from research.config import Model
from research.models.attention import Attend, AttentionMask, attend_by, choose
from research.models.ops.activations import gelu_erf, gelu_tanh
from research.models.ops.dropout import dropout, dropout_mask
from research.models.ops.linear import linear
from research.models.ops.norms import layer_norm
from research.models.precision import matmul_dtype

ROWS = ("data", "fsdp")  # the axes of a mesh that a batch is split over

Initializer = Callable[[Array, tuple[int, ...]], Array]

ACTIVATIONS = {"gelu_tanh": gelu_tanh, "gelu_erf": gelu_erf}


def normal(std: float) -> Initializer:
    return lambda key, shape: std * jax.random.normal(key, shape)


def truncated_normal(std: float) -> Initializer:
    """Cut at two standard deviations of the normal before the cut, as TensorFlow's."""
    return lambda key, shape: std * jax.random.truncated_normal(key, -2, 2, shape)


class BlockCache(NamedTuple):
    """A block's keys and values of the positions before, for decoding; `position` is the next to fill."""

    keys_BSHK: Array
    values_BSHK: Array
    position: Array


class Linear(nnx.Module):
    def __init__(
        self,
        inputs: int,
        outputs: tuple[int, ...],
        init: Initializer,
        bias: bool,
        *,
        key: Array,
        precision: str | None = None,
    ):
        """With a `precision`, what is multiplied is of its type; without, of the input's."""
        self.kernel = nnx.Param(init(key, (inputs, *outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None
        self.precision = precision

    def __call__(self, x: Array, activation: Callable[[Array], Array] | None = None) -> Array:
        """Of `activation(x)` where there is one."""
        kernel, bias = self.kernel[...], None if self.bias is None else self.bias[...]
        multiplied = None if self.precision is None else matmul_dtype(self.precision)
        split = _mesh() is not None
        return linear(x, kernel, bias, multiplied, split, activation)


class LayerNorm(nnx.Module):
    def __init__(self, width: int, epsilon: float, bias: bool):
        self.scale = nnx.Param(jnp.ones(width))
        self.bias = nnx.Param(jnp.zeros(width)) if bias else None
        self.epsilon = epsilon

    def __call__(self, x: Array) -> Array:
        bias = None if self.bias is None else self.bias[...]
        return layer_norm(x, self.scale[...], bias, self.epsilon)


class Attention(nnx.Module):
    def __init__(self, config: Model, init: Initializer, init_output: Initializer, *, key: Array):
        key_qkv, key_output = jax.random.split(key)
        width, linear = config.width, partial(Linear, bias=config.bias, precision=config.precision)
        self.qkv = linear(width, (3, width), init, key=key_qkv)
        self.output = linear(width, (width,), init_output, key=key_output)
        self.heads = config.heads
        self.dropout = config.dropout

    def __call__(
        self, x_BLD: Array, attend: Attend, key: Array | None, seen: BlockCache | None
    ) -> tuple[Array, tuple[Array, Array] | None]:
        B, L, D = x_BLD.shape
        qkv = self.qkv(x_BLD).reshape(B, L, 3, self.heads, D // self.heads)
        q, k, v = (part.squeeze(2) for part in jnp.split(qkv, 3, axis=2))
        if seen is not None:
            k = lax.dynamic_update_slice_in_dim(seen.keys_BSHK, k, seen.position, axis=1)
            v = lax.dynamic_update_slice_in_dim(seen.values_BSHK, v, seen.position, axis=1)
        keep = dropout_mask((B, self.heads, L, k.shape[1]), self.dropout, key, x_BLD.dtype)
        y = attend(q, k, v, keep)
        return self.output(y.reshape(B, L, D)), None if seen is None else (k, v)


class MLP(nnx.Module):
    def __init__(self, config: Model, init: Initializer, init_output: Initializer, *, key: Array):
        key_expand, key_output = jax.random.split(key)
        width, linear = config.width, partial(Linear, bias=config.bias, precision=config.precision)
        self.expand = linear(width, (4 * width,), init, key=key_expand)
        self.output = linear(4 * width, (width,), init_output, key=key_output)
        self.activation = config.activation

    def __call__(self, x_BLD: Array) -> Array:
        return self.output(self.expand(x_BLD), ACTIVATIONS[self.activation])


class Block(nnx.Module):
    """Attention and MLP, each a residual branch, normalized before (GPT-2) or after the sum (GPT-1, BERT)."""

    def __init__(self, config: Model, init: Initializer, init_output: Initializer, *, key: Array):
        key_attention, key_mlp = jax.random.split(key)
        self.attention = Attention(config, init, init_output, key=key_attention)
        self.attention_norm = LayerNorm(config.width, config.norm_epsilon, config.bias)
        self.mlp = MLP(config, init, init_output, key=key_mlp)
        self.mlp_norm = LayerNorm(config.width, config.norm_epsilon, config.bias)
        self.norm_first = config.norm == "pre"
        self.dropout = config.dropout

    def __call__(
        self, x_BLD: Array, attend: Attend, key: Array | None = None, seen: BlockCache | None = None
    ) -> tuple[Array, tuple[Array, Array] | None]:
        """The next state and, where there are some `seen`, the keys and values grown by L positions."""
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        drop = partial(dropout, rate=self.dropout)
        if self.norm_first:
            y, seen = self.attention(self.attention_norm(x_BLD), attend, keys[0], seen)
            x_BLD = x_BLD + drop(y, key=keys[1])
            return x_BLD + drop(self.mlp(self.mlp_norm(x_BLD)), key=keys[2]), seen
        y, seen = self.attention(x_BLD, attend, keys[0], seen)
        x_BLD = self.attention_norm(x_BLD + drop(y, key=keys[1]))
        return self.mlp_norm(x_BLD + drop(self.mlp(x_BLD), key=keys[2])), seen


def split_rows(x: Array) -> Array:
    """`x` (B, …) with its rows, and nothing else, split over a mesh's devices; as it is where there is none.

    Parameters may be split along what `x` is contracted with. Without a word here the compiler would rather
    collect a whole batch of states than a layer's parameters.
    """
    return x if _mesh() is None else lax.with_sharding_constraint(x, PartitionSpec(ROWS))


def rows_on_each(rows: int) -> int:
    """How many of a batch's rows a device works on."""
    mesh = _mesh()
    return rows if mesh is None else -(-rows // math.prod(mesh.shape[axis] for axis in ROWS))


def _mesh() -> jax.sharding.AbstractMesh | None:
    """The mesh in view; inside a pmap there is one too, but its rows are split already."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if set(ROWS) <= set(mesh.axis_names) else None


def stack(config: Model, init: Initializer, init_output: Initializer, *, key: Array) -> Block:
    """`depth` blocks as one, each parameter with a leading axis N, so compile time does not grow with N."""
    keys = jax.random.split(key, config.depth)
    return jax.vmap(lambda key: Block(config, init, init_output, key=key))(keys)


def run_stack(
    blocks: Block,
    config: Model,
    x_BLD: Array,
    attention_mask: AttentionMask,
    key: Array | None = None,
) -> tuple[Array, Array]:
    """The blocks in turn: the last state, and all states (N, B, L, D)."""
    keys = None if key is None else jax.random.split(key, config.depth)
    length = x_BLD.shape[1]
    choice = choose(config, trains=key is not None, documents=attention_mask.documents_BL is not None)
    attend = attend_by(choice.used, attention_mask, length, length)

    def step(x, layer):
        block, key = layer
        x, _ = block(split_rows(x), attend, key)
        return split_rows(x), x

    return lax.scan(remat(step, config.remat), x_BLD, (blocks, keys), unroll=min(config.unroll, config.depth))


def remat(step: Callable, policy: str) -> Callable:
    """`step` that keeps for its backward pass all it made, its matrix products only, or its input only."""
    if policy == "none":
        return step
    policies = {
        "dots": jax.checkpoint_policies.dots_saveable,
        "block": jax.checkpoint_policies.nothing_saveable,
    }
    return jax.checkpoint(step, policy=policies[policy], prevent_cse=False)
