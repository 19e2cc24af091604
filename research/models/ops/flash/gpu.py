"""Attention on a GPU in two kernels that do not store the scores (Dao, 2023), with dropout.

The backward kernel recomputes the probabilities and the dropout mask. The mask equals `dropout.factors`, so
values equal those of `ops.attention` up to rounding. Each program of the backward kernel writes its own
gradients, so results do not depend on the order of programs.

Shapes: B batch, L length, H heads, K head size; qkv (B, L, 3, H, K) are queries, keys and values.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from research.models.ops.attention import BLOCKS, NEGATIVE, Segments
from research.models.ops.dropout import Seed
from research.models.ops.flash.pair import Drops, First, Options, Pair, dropped, drops_of, scope
from research.models.platform import capability

BLOCK = BLOCKS["gpu"]
ROOMY = ((8, 0), (9, 0), (10, 0))  # A100, H100, B200; others have 99 KB of shared memory per block
BASE_2 = math.log2(math.e)  # GPUs have an instruction for powers of 2


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def flash(qkv: Array, segments: Segments | None, seed: Seed | None, first: First, options: Options) -> Array:
    """Scaled dot-product attention to (B, L, H, K), softmax and sums in float32."""
    return _flash_forward(qkv, segments, seed, first, options)[0]


def _has_room(size: int) -> bool:
    """Whether shared memory holds the number of blocks that is fastest, for heads of `size`."""
    return size <= 64 or capability() in ROOMY


def _flash_forward(qkv, segments, seed, first, options):
    B, L, _, H, K = qkv.shape
    block = 2 * BLOCK if L % (2 * BLOCK) == 0 else BLOCK
    drops = drops_of(seed, first)
    forward = pl.pallas_call(
        partial(_forward_kernel, options),
        grid=(L // block, H, B),
        in_specs=_specs(qkv, segments, drops),
        out_specs=(
            pl.BlockSpec((None, block, None, K), lambda i, h, b: (b, i, h, 0)),
            pl.BlockSpec((None, None, block), lambda i, h, b: (b, h, i)),
        ),
        out_shape=(
            jax.ShapeDtypeStruct((B, L, H, K), qkv.dtype),
            jax.ShapeDtypeStruct((B, H, L), jnp.float32),
        ),
        compiler_params=triton.CompilerParams(num_warps=8, num_stages=2 if _has_room(K) else 1),
        interpret=options.interpret,
        name="flash_forward",
    )
    with scope(seed, options):
        y, log_sums = forward(qkv, segments, drops)
    return y, (qkv, segments, seed, first, y, log_sums)


def _flash_backward(options, saved, dy):
    qkv, segments, seed, first, y, log_sums = saved
    B, L, _, H, K = qkv.shape
    # The term that the softmax's derivative subtracts equals the product of the output and its gradient.
    shared = jnp.sum(y.astype(jnp.float32) * dy.astype(jnp.float32), -1).swapaxes(1, 2)
    drops = drops_of(seed, first)
    block = BLOCK if _has_room(K) else BLOCK // 2
    logs = pl.BlockSpec((None, None, L), lambda i, h, b: (b, h, 0))
    whole = pl.BlockSpec((None, L, None, K), lambda i, h, b: (b, 0, h, 0))
    backward = pl.pallas_call(
        partial(_backward_kernel, options, block),
        grid=(L // block, H, B),
        in_specs=(*_specs(qkv, segments, drops), whole, logs, logs),
        out_specs=pl.BlockSpec((None, L, 3, None, K), lambda i, h, b: (b, 0, 0, h, 0)),
        out_shape=jax.ShapeDtypeStruct(qkv.shape, qkv.dtype),
        compiler_params=triton.CompilerParams(num_warps=4 if K <= 64 else 8, num_stages=2),
        interpret=options.interpret,
        name="flash_backward",
    )
    with scope(seed, options):
        dqkv = backward(qkv, segments, drops, dy, log_sums, shared)
    return dqkv, None, None, None


flash.defvjp(_flash_forward, _flash_backward)


def _specs(qkv: Array, segments: Segments | None, drops: Drops | None) -> tuple:
    """Block specifications: each program sees a whole row and head, and loads blocks of it."""
    _, L, _, _, K = qkv.shape
    row = pl.BlockSpec((None, L), lambda i, h, b: (b, 0))
    return (
        pl.BlockSpec((None, L, 3, None, K), lambda i, h, b: (b, 0, 0, h, 0)),
        None if segments is None else (row, row),
        None if drops is None else jax.tree.map(lambda x: pl.BlockSpec(x.shape, lambda i, h, b: (0,)), drops),
    )


def _forward_kernel(options, qkv_ref, segments, drops, y_ref, log_sums_ref):
    """Processes a block of queries with all keys that they attend to."""
    (block, size), length = y_ref.shape, qkv_ref.shape[0]
    start, pair = pl.program_id(0) * block, _pairs(options, segments, drops, length)
    q = qkv_ref[pl.ds(start, block), 0]

    def add(j, sums):
        y, best, total = sums
        keys = pl.ds(j * BLOCK, BLOCK)
        scores, kept = pair(q, qkv_ref[keys, 1], start, j * BLOCK)
        larger = jnp.maximum(best, scores.max(1))
        weights, shrunk = jnp.exp2(scores - larger[:, None]), jnp.exp2(best - larger)
        added = _product(dropped(weights, kept, drops).astype(q.dtype), qkv_ref[keys, 2])
        return y * shrunk[:, None] + added, larger, total * shrunk + weights.sum(1)

    blocks = (start + block) // BLOCK if options.causal else length // BLOCK
    nothing = (
        jnp.zeros((block, size), jnp.float32),
        jnp.full((block,), NEGATIVE, jnp.float32),
        jnp.zeros((block,), jnp.float32),
    )
    y, best, total = lax.fori_loop(0, blocks, add, nothing)
    y_ref[...] = (y / total[:, None]).astype(y_ref.dtype)
    log_sums_ref[...] = best + jnp.log2(total)


def _backward_kernel(options, block, qkv_ref, segments, drops, dy_ref, log_sums_ref, shared_ref, dqkv_ref):
    """Computes the gradients of a block of keys and values, and of the queries at the same positions."""
    length, _, size = qkv_ref.shape
    i, pair = pl.program_id(0), _pairs(options, segments, drops, length)

    def gradients(q, k, v, dy, q_block, k_block):
        """The probabilities after dropout, and the scores' gradient."""
        queries = pl.ds(q_block * block, block)
        scores, kept = pair(q, k, q_block * block, k_block * block)
        p = jnp.exp2(scores - log_sums_ref[queries][:, None])
        dp = dropped(_product(dy, v.T), kept, drops)
        dscores = p * (dp - shared_ref[queries][:, None]) / math.sqrt(size)
        return dropped(p, kept, drops).astype(q.dtype), dscores.astype(q.dtype)

    mine = pl.ds(i * block, block)
    q, k, v, dy = qkv_ref[mine, 0], qkv_ref[mine, 1], qkv_ref[mine, 2], dy_ref[mine]

    def add_queries(j, sums):
        theirs = pl.ds(j * block, block)
        their_q, their_dy = qkv_ref[theirs, 0], dy_ref[theirs]
        p, dscores = gradients(their_q, k, v, their_dy, j, i)
        return sums[0] + _product(dscores.T, their_q), sums[1] + _product(p.T, their_dy)

    def add_keys(j, dq):
        theirs = pl.ds(j * block, block)
        their_k = qkv_ref[theirs, 1]
        return dq + _product(gradients(q, their_k, qkv_ref[theirs, 2], dy, i, j)[1], their_k)

    blocks, zero = length // block, jnp.zeros((block, size), jnp.float32)
    dk, dv = lax.fori_loop(i if options.causal else 0, blocks, add_queries, (zero, zero))
    dqkv_ref[mine, 1], dqkv_ref[mine, 2] = dk.astype(dqkv_ref.dtype), dv.astype(dqkv_ref.dtype)
    dq = lax.fori_loop(0, i + 1 if options.causal else blocks, add_keys, zero)
    dqkv_ref[mine, 0] = dq.astype(dqkv_ref.dtype)


def _pairs(options, segments, drops, length):
    """Scores to base 2 of a block of queries and a block of keys, and which of them dropout keeps."""
    row, head = pl.program_id(2), pl.program_id(1)

    def scores_and_kept(q, k, q_start, k_start):
        of_both = None
        if segments is not None:
            of_queries, of_keys = segments[0][pl.ds(q_start, len(q))], segments[1][pl.ds(k_start, len(k))]
            of_both = of_queries[:, None], of_keys[None]
        pair = Pair((q_start + jnp.arange(len(q)))[:, None], (k_start + jnp.arange(len(k)))[None], of_both)
        scores = _product(q, k.T) * (BASE_2 / math.sqrt(q.shape[1]))
        kept = pair.kept(drops, row, head, options.heads, length)
        return pair.hidden(scores, options.causal), kept

    return scores_and_kept


def _product(a, b):
    return lax.dot(a, b, preferred_element_type=jnp.float32)
