"""Scaled dot-product attention with a hand-written derivative (see `research.models.ops.norms`).

Shapes: B batch, L length, S source length, H heads, K head size.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from research.models.ops.dropout import Mask, afresh, factors
from research.models.platform import platform
from research.models.sites import site

NEGATIVE = -1e30  # a masked score; finite, so that a fully masked row is not NaN
# Limits of the fused kernels of `flash` and `splash`.
BLOCKS = {"gpu": 64, "tpu": 128}  # lengths must be multiples of these
FLASH_SIZES = (16, 32, 64, 128)  # of a head
TPU_LENGTH = 8_192  # longest sequence of which a head fits into a TPU's vector memory
Segments = tuple[Array, Array]  # ids of queries (B, L) and keys (B, S), which attend where equal
MIN_LENGTH_TO_SPLIT = 256  # positions; below this, splitting costs more than it saves


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def attention(
    q_BLHK: Array,
    k_BSHK: Array,
    v_BSHK: Array,
    mask: Array | None,
    dropout_mask_BHLS: Mask | None,
    causal: bool = False,
) -> Array:
    """Scaled dot-product attention to (B, L, H, K) (Vaswani et al., 2017), softmax in float32.

    `mask` is boolean, True where to attend, and broadcasts to (B, H, L, S). `dropout_mask_BHLS` multiplies
    the probabilities. `causal` promises that `mask` hides all later keys, so their scores may be skipped.
    """
    return _attention_forward(q_BLHK, k_BSHK, v_BSHK, mask, dropout_mask_BHLS, causal)[0]


def _attention_forward(q, k, v, mask, dropout_mask, causal):
    q, k, v = map(_heads_first, (q, k, v))
    outputs, probabilities = [], []
    factors_BHLS = _factors(dropout_mask, q, k)
    for piece in _pieces(q, k, causal):
        scores = _by_head(q[:, :, piece.queries], k[:, :, piece.keys], 3, 3, jnp.float32)
        scores = scores / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = jnp.where(piece.of(mask), scores, NEGATIVE)
        p = jax.nn.softmax(scores, axis=-1).astype(q.dtype)
        if platform() != "cpu":
            p = lax.optimization_barrier(p)
        dropped = p if factors_BHLS is None else p * piece.of(factors_BHLS)
        outputs.append(_by_head(dropped, v[:, :, piece.keys], 3, 2, q.dtype))
        probabilities.append(p)
    y = _heads_first(_joined(outputs))
    return y, (q, k, v, probabilities, dropout_mask, None if platform() == "cpu" else y)


def _attention_backward(causal, saved, do):
    q, k, v, probabilities, dropout_mask, y = saved
    factors_BHLS = None if dropout_mask is None else _factors(afresh(dropout_mask, do), q, k)
    # The term that the softmax's derivative subtracts equals the product of the output and its gradient,
    # which are smaller than the scores. CPUs do not keep the output.
    shared = None if y is None else _heads_first(jnp.sum(y * do, -1, keepdims=True, dtype=jnp.float32))
    do = _heads_first(do)
    dq, dk, dv = [], [], []  # of queries, by piece; of all keys, as one
    for piece, saved_p in zip(_pieces(q, k, causal), probabilities, strict=True):
        q_piece, do_piece = q[:, :, piece.queries], do[:, :, piece.queries]
        dropped = saved_p if factors_BHLS is None else saved_p * piece.of(factors_BHLS)
        dp = _by_head(do_piece, v[:, :, piece.keys], 3, 3, jnp.float32)
        if factors_BHLS is not None:
            dp = dp * piece.of(factors_BHLS).astype(jnp.float32)
        p = saved_p.astype(jnp.float32)
        weighted = p * dp
        total = weighted.sum(-1, keepdims=True) if shared is None else shared
        dscores = (weighted - p * total) / math.sqrt(q.shape[-1])
        dscores = dscores.astype(q.dtype)
        dq.append(_by_head(dscores, k[:, :, piece.keys], 3, 2, q.dtype))
        dk = _added(dk, _by_rows(dscores, q_piece, k.dtype), k.shape)
        dv = _added(dv, _by_rows(dropped, do_piece, v.dtype), v.shape)
    return *map(_heads_first, (_joined(dq), *dk, *dv)), None, None


attention.defvjp(_attention_forward, _attention_backward)


def plain_attention(
    q_BLHK: Array,
    k_BSHK: Array,
    v_BSHK: Array,
    mask: Array | None,
    dropout_mask: Mask | None,
    bias: Array | None,
) -> Array:
    """`attention` with JAX's derivative and named sites.

    `bias` is added to the scores; it broadcasts to (B, H, L, S) and may be learned.
    """
    q, k, v = map(_heads_first, (q_BLHK, k_BSHK, v_BSHK))
    p_BHLS = _probabilities(q_BLHK, k_BSHK, mask, bias).astype(q.dtype)
    factors_BHLS = _factors(dropout_mask, q, k)
    dropped = p_BHLS if factors_BHLS is None else p_BHLS * factors_BHLS
    return _heads_first(_by_head(dropped, v, 3, 2, q.dtype))


def _probabilities(q_BLHK: Array, k_BSHK: Array, mask: Array | None, bias: Array | None) -> Array:
    """The softmax of the scaled, biased and masked scores: (B, H, L, S), float32."""
    scores = _by_head(_heads_first(q_BLHK), _heads_first(k_BSHK), 3, 3, jnp.float32)
    scores = scores / math.sqrt(q_BLHK.shape[-1])
    if bias is not None:
        scores = scores + bias
    scores = scores if mask is None else jnp.where(mask, scores, NEGATIVE)
    return site("attention/probabilities", jax.nn.softmax(site("attention/scores", scores), axis=-1))


def _factors(mask: Mask | None, q_BHLK: Array, k_BHSK: Array) -> Array | None:
    if mask is None:
        return None
    return factors(mask, (*q_BHLK.shape[:3], k_BHSK.shape[2]), q_BHLK.dtype)


class _Piece(NamedTuple):
    """A range of queries, and the keys up to the last one that they attend to."""

    queries: slice
    keys: slice

    def of(self, x: Array) -> Array:
        """The part of `x` (broadcasting to (B, H, L, S)) for these queries and keys."""
        x = x if x.shape[2] == 1 else x[:, :, self.queries]
        return x if x.shape[3] == 1 else x[:, :, :, self.keys]


def _pieces(q_BHLK: Array, k_BHSK: Array, causal: bool) -> list[_Piece]:
    """On a CPU, splits a long causal square into four pieces, with five eighths of its products; else one."""
    length, keys = q_BHLK.shape[2], k_BHSK.shape[2]
    short = length < MIN_LENGTH_TO_SPLIT
    if not causal or length != keys or short or platform() != "cpu":
        return [_Piece(slice(None), slice(None))]
    size = -(-length // 4)
    return [_Piece(slice(start, start + size), slice(start + size)) for start in range(0, length, size)]


def _heads_first(x: Array) -> Array:
    """(B, L, H, K) to (B, H, L, K), and back."""
    return x.swapaxes(1, 2)


def _by_head(a: Array, b: Array, axis_a: int, axis_b: int, dtype: DTypeLike) -> Array:
    """Contracts one axis of (B, H, …) with one of (B, H, …)."""
    return lax.dot_general(a, b, (((axis_a,), (axis_b,)), ((0, 1), (0, 1))), preferred_element_type=dtype)


def _by_rows(a: Array, b: Array, dtype: DTypeLike) -> Array:
    """(B, H, L, S) and (B, H, L, K) to (B, H, S, K): a sum over rows.

    The smaller operand and the result are transposed; otherwise XLA:CPU uses a slow product.
    """
    return _by_head(b.swapaxes(2, 3), a, 3, 2, dtype).swapaxes(2, 3)


def _joined(pieces: list[Array]) -> Array:
    return pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces, axis=2)


def _added(total: list[Array], part: Array, shape: tuple[int, ...]) -> list[Array]:
    """`total`, empty before the first piece, plus the gradient of the first keys."""
    missing = shape[2] - part.shape[2]
    part = jnp.pad(part, ((0, 0), (0, 0), (0, missing), (0, 0))) if missing else part
    return [total[0] + part if total else part]
