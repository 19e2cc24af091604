"""Attention on a TPU in two kernels that do not store the scores (Dao, 2023), with dropout.

As `gpu`, but a program has whole heads in vector memory, and programs run sequentially, so each adds its part
to the gradient of the queries. Queries are along the last axis of the scores, so that their sums are rows.

Shapes: B batch, H heads, G heads of a program, L length, K head size.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu

from research.models.ops.attention import BLOCKS, NEGATIVE, Segments
from research.models.ops.dropout import Seed
from research.models.ops.flash.pair import First, Options, Pair, dropped, drops_of, scope

BLOCK = 512  # maximum queries, and keys, processed at once
PLACES = (
    1_024  # maximum positions of a program with several heads; short programs cost more to start than to run
)
LANES = BLOCKS["tpu"]
IN_TURN = tpu.CompilerParams(dimension_semantics=("parallel", "parallel", "arbitrary"))


def block_of(length: int) -> int:
    """The number of queries, or keys, that a kernel processes at once."""
    return max(size for size in range(LANES, BLOCK + 1, LANES) if length % size == 0)


def flash(qkv: Array, segments: Segments | None, seed: Seed | None, first: First, options: Options) -> Array:
    """Scaled dot-product attention of (B, L, 3, H, K) to (B, L, H, K), softmax and sums in float32."""
    heads_first = (qkv[:, :, n].swapaxes(1, 2) for n in range(3))
    return _flash(*heads_first, segments, seed, first, options).swapaxes(1, 2)


def _flash_of_heads(q, k, v, segments, seed, first, options) -> Array:
    return _flash_forward(q, k, v, segments, seed, first, options)[0]


def _flash_forward(q, k, v, segments, seed, first, options):
    split, drops = _split(q.shape), drops_of(seed, first)
    forward = pl.pallas_call(
        partial(_forward_kernel, options),
        grid=split.grid,
        in_specs=(split.part, split.whole, split.whole, *split.given(segments, drops)),
        out_specs=(split.part, split.part_row),
        out_shape=(
            jax.ShapeDtypeStruct(q.shape, q.dtype),
            jax.ShapeDtypeStruct((*q.shape[:2], 1, q.shape[2]), jnp.float32),
        ),
        compiler_params=IN_TURN,
        interpret=options.interpret,
        name="tpu_flash_forward",
    )
    with scope(seed, options):
        y, log_sums = forward(q, k, v, _as_rows(segments), drops)
    return y, (q, k, v, segments, seed, first, y, log_sums)


def _flash_backward(options, saved, dy):
    q, k, v, segments, seed, first, y, log_sums = saved
    split, drops = _split(q.shape), drops_of(seed, first)
    # The term that the softmax's derivative subtracts equals the product of the output and its gradient.
    shared = jnp.sum(y.astype(jnp.float32) * dy.astype(jnp.float32), -1)[:, :, None]
    heads, length, size = split.shape
    backward = pl.pallas_call(
        partial(_backward_kernel, options),
        grid=split.grid,
        in_specs=(
            *(split.whole, split.part, split.part, *split.given(segments, drops)),
            *(split.whole, split.row, split.row),
        ),
        out_specs=(split.whole, split.part, split.part),
        out_shape=[jax.ShapeDtypeStruct(q.shape, q.dtype)] * 3,
        scratch_shapes=[tpu.VMEM((heads, size, length), jnp.float32)],
        compiler_params=IN_TURN,
        interpret=options.interpret,
        name="tpu_flash_backward",
    )
    with scope(seed, options):
        dq, dk, dv = backward(q, k, v, _as_rows(segments), drops, dy, log_sums, shared)
    return dq, dk, dv, None, None, None


_flash = jax.custom_vjp(_flash_of_heads, nondiff_argnums=(6,))
_flash.defvjp(_flash_forward, _flash_backward)


class _Split(NamedTuple):
    """How arrays are split over programs: by rows, heads and blocks of positions."""

    grid: tuple[int, int, int]
    shape: tuple[int, int, int]  # (G, L, K), of a program's heads
    whole: pl.BlockSpec  # `shape` of (B, H, L, K)
    part: pl.BlockSpec  # (G, block, K)
    row: pl.BlockSpec  # (G, 1, L) of (B, H, 1, L)
    part_row: pl.BlockSpec  # (G, 1, block)

    def given(self, segments, drops):
        """Specifications of segments, as rows (B, 1, L), and of the seed of a dropout mask."""
        row = pl.BlockSpec((None, 1, self.shape[1]), lambda b, h, i: (b, 0, 0))
        scalars = pl.BlockSpec(memory_space=tpu.SMEM)
        return jax.tree.map(lambda _: row, segments), jax.tree.map(lambda _: scalars, drops)


def _split(shape: tuple[int, ...]) -> _Split:
    B, H, L, K = shape
    block = block_of(L)
    G = max(n for n in range(1, H + 1) if H % n == 0 and (n == 1 or n * L <= PLACES))
    return _Split(
        grid=(B, H // G, L // block),
        shape=(G, L, K),
        whole=pl.BlockSpec((None, G, L, K), lambda b, h, i: (b, h, 0, 0)),
        part=pl.BlockSpec((None, G, block, K), lambda b, h, i: (b, h, i, 0)),
        row=pl.BlockSpec((None, G, 1, L), lambda b, h, i: (b, h, 0, 0)),
        part_row=pl.BlockSpec((None, G, 1, block), lambda b, h, i: (b, h, 0, i)),
    )


def _as_rows(segments):
    return jax.tree.map(lambda numbers: numbers[:, None], segments)


def _forward_kernel(options, q_ref, k_ref, v_ref, segments, drops, y_ref, log_sums_ref):
    """Processes a block of queries with all keys that they attend to."""
    (heads, block, size), length = q_ref.shape, k_ref.shape[1]
    i, q = pl.program_id(2), q_ref[...]
    pair = _pairs(options, segments, drops, heads, length, block)

    def add(j, sums):
        y, best, total = sums
        keys = _places(j, block)
        scores, kept = pair(q, k_ref[:, keys], i, j)
        larger = jnp.maximum(best, scores.max(1, keepdims=True))
        weights, shrunk = jnp.exp(scores - larger), jnp.exp(best - larger)
        added = _product(v_ref[:, keys], dropped(weights, kept, drops).astype(q.dtype), 1, 1)
        return y * shrunk + added, larger, total * shrunk + weights.sum(1, keepdims=True)

    nothing = (
        jnp.zeros((heads, size, block), jnp.float32),
        jnp.full((heads, 1, block), NEGATIVE, jnp.float32),
        jnp.zeros((heads, 1, block), jnp.float32),
    )
    y, best, total = lax.fori_loop(0, i + 1 if options.causal else length // block, add, nothing)
    y_ref[...] = (y / total).swapaxes(1, 2).astype(y_ref.dtype)
    log_sums_ref[...] = best + jnp.log(total)


def _backward_kernel(
    options,
    q_ref,
    k_ref,
    v_ref,
    segments,
    drops,
    dy_ref,
    log_sums_ref,
    shared_ref,
    dq_ref,
    dk_ref,
    dv_ref,
    sum_ref,
):
    """Computes the gradients of a block of keys and values; the last block completes those of queries."""
    (heads, block, size), length = k_ref.shape, q_ref.shape[1]
    i, last, k, v = pl.program_id(2), pl.num_programs(2) - 1, k_ref[...], v_ref[...]
    pair = _pairs(options, segments, drops, heads, length, block)

    @pl.when(i == 0)
    def _():
        sum_ref[...] = jnp.zeros_like(sum_ref)

    def add(j, sums):
        queries = _places(j, block)
        q, dy = q_ref[:, queries], dy_ref[:, queries]
        scores, kept = pair(q, k, j, i)
        p = jnp.exp(scores - log_sums_ref[:, :, queries])
        dp = dropped(_product(v, dy, 2, 2), kept, drops)
        dscores = (p * (dp - shared_ref[:, :, queries]) / math.sqrt(size)).astype(q.dtype)
        sum_ref[:, :, queries] += _product(k, dscores, 1, 1)
        p = dropped(p, kept, drops).astype(q.dtype)
        return sums[0] + _product(dscores, q, 2, 1), sums[1] + _product(p, dy, 2, 1)

    zero = jnp.zeros(k.shape, jnp.float32)
    dk, dv = lax.fori_loop(i if options.causal else 0, last + 1, add, (zero, zero))
    dk_ref[...], dv_ref[...] = dk.astype(dk_ref.dtype), dv.astype(dv_ref.dtype)

    @pl.when(i == last)
    def _():
        dq_ref[...] = sum_ref[...].swapaxes(1, 2).astype(dq_ref.dtype)


def _pairs(options, segments, drops, heads, length, block):
    """Scores (G, keys, queries) of a block of queries and one of keys, and which of them dropout keeps."""
    row = pl.program_id(0)
    head = pl.program_id(1) * heads + lax.broadcasted_iota(jnp.int32, (heads, 1, 1), 0)

    def scores_and_kept(q, k, q_block, k_block):
        of_both = None
        if segments is not None:
            of_queries, of_keys = (
                segments[0][:, _places(q_block, block)],
                segments[1][:, _places(k_block, block)],
            )
            # A column of keys: the first of as many as a tile has.
            of_both = of_queries[None], jnp.broadcast_to(of_keys, (LANES, block)).T[None, :, :1]
        pair = Pair(
            q_block * block + lax.broadcasted_iota(jnp.int32, (1, 1, block), 2),
            k_block * block + lax.broadcasted_iota(jnp.int32, (1, block, 1), 1),
            of_both,
        )
        scores = _product(k, q, 2, 2) / math.sqrt(q.shape[2])
        kept = pair.kept(drops, row, head, options.heads, length)
        return pair.hidden(scores, options.causal), kept

    return scores_and_kept


def _places(block_number, block):
    return pl.ds(pl.multiple_of(block_number * block, block), block)


def _product(a, b, axis_a, axis_b):
    """Products per head, over one axis of each operand."""
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((0,), (0,))), preferred_element_type=jnp.float32)
