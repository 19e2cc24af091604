"""Cross-entropy over a vocabulary, without holding the logits of all tokens at once.

The logits of a GPT-2 batch are far larger than its other arrays, so they are computed for a few tokens at a
time. The gradient is computed in the same pass, because it is linear in the gradient of the loss.

Shapes: B batch, L length, D width, V vocabulary, padded to a multiple of the devices that split it, and of
128 on GPUs.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from research.config.hyperparameters import is_zero
from research.models.ops.attention import NEGATIVE
from research.models.ops.linear import rows_by_rows
from research.models.platform import differentiated_again, platform
from research.models.precision import logits_dtype, matmul_dtype
from research.objectives.vocabulary_shards import on_shards, word_shards

LOGITS_AT_ONCE = 2**25  # on a CPU: 667 tokens with GPT-2's vocabulary, enough for fast matrix products
TINY = 1e-30  # below every weight but 0
LOGITS_AT_ONCE_ELSEWHERE = 2**29  # each piece adds to the table's whole gradient, in float32


def _vocabulary_loss(x_BLD, table_VD, bias_V, targets_BL, weights_BL, z_loss, operand_dtype, kept):
    table, bias = _operands(x_BLD, table_VD, bias_V, operand_dtype)

    def of_rows(words, rows, table, bias):
        def add(sums, piece):
            x, targets, weights = piece
            losses, hits, _, _ = _losses(words, x, table, bias, targets, z_loss)
            return (sums[0] + (losses * weights).sum(), sums[1] + (hits * weights).sum()), None

        return over_pieces(add, (jnp.float32(0), jnp.float32(0)), rows, len(table))[0], None

    return on_shards(of_rows, (x_BLD, targets_BL, weights_BL), table, bias, False)[0]


_loss = jax.custom_vjp(_vocabulary_loss, nondiff_argnums=(6, 7))


def vocabulary_loss(
    x_BLD: Array,
    table_VD: Array,
    bias_V: Array | None,
    targets_BL: Array,
    weights_BL: Array,
    z_loss: ArrayLike = 0.0,
    operand_dtype: DTypeLike | None = None,
    kept: DTypeLike = jnp.float32,
) -> tuple[Array, Array]:
    """Weighted sums of the cross-entropy (nats) of `x @ table.T + bias` and of the hits of its argmax.

    `z_loss` times the squared log of the softmax's denominator is added to the loss. States, table and the
    operands of their gradients are rounded to `operand_dtype` (None: the type of the states). With a
    gradient, logits are rounded to `kept`, because a pass over them is limited by memory.
    """
    added = None if is_zero(z_loss) else z_loss
    return _loss(x_BLD, table_VD, bias_V, targets_BL, weights_BL, added, operand_dtype, kept)


def targets_loss(
    model: Any, x_BLD: Array, bias_V: Array | None, batch: Mapping[str, Array], z_loss: ArrayLike
) -> tuple[Array, Array]:
    """`vocabulary_loss` of a batch's `targets` (B, L) by the model's output table, in its precision."""
    types = matmul_dtype(model.config.precision), logits_dtype(model.config)
    table_VD, targets_BL, weights_BL = model.output_table(), batch["targets"], batch["weights"]
    return vocabulary_loss(x_BLD, table_VD, bias_V, targets_BL, weights_BL, z_loss, *types)


def _forward(x_BLD, table_VD, bias_V, targets_BL, weights_BL, z_loss, operand_dtype, kept):
    table, bias = _operands(x_BLD, table_VD, bias_V, operand_dtype)

    def of_rows(words, rows, table, bias):
        filled, width = table.shape
        # Weights are about one over a batch's tokens, and their products underflow in float16.
        unit = jnp.maximum(jnp.abs(rows[2]).max(), TINY) if table.dtype == jnp.float16 else None
        scaled = (lambda x: x) if unit is None else (lambda x: x * unit)

        def add(sums, piece):
            loss, correct, dtable, dbias = sums
            x, targets, weights = piece
            losses, hits, dlogits, log_z = _losses(words, x, table, bias, targets, z_loss, kept)
            if z_loss is not None:
                dlogits = dlogits * (1 + 2 * z_loss * log_z)
            dlogits = dlogits - jax.nn.one_hot(targets - words.first, filled)
            dlogits = dlogits * (weights if unit is None else weights / unit)[..., None]
            if dbias is not None:
                dbias = dbias + scaled(dlogits.sum((0, 1)))
            dlogits = dlogits.astype(table.dtype)
            dtype = x.dtype if unit is None else jnp.float32
            dx = scaled(jnp.einsum("BLV,VD->BLD", dlogits, table, preferred_element_type=dtype))
            products = dlogits.reshape(-1, filled), x.astype(table.dtype).reshape(-1, width)
            dtable = dtable + scaled(rows_by_rows(*products, jnp.float32))
            return (loss + (losses * weights).sum(), correct + (hits * weights).sum(), dtable, dbias), dx

        zero = jnp.float32(0)
        start = (zero, zero, jnp.zeros(table.shape), None if bias_V is None else jnp.zeros(filled))
        (loss, correct, dtable, dbias), dx = over_pieces(add, start, rows, filled)
        return (loss, correct), (dx, dtable, dbias)

    sums, (dx, dtable, dbias) = on_shards(of_rows, (x_BLD, targets_BL, weights_BL), table, bias, True)
    entries = len(table_VD)
    return sums, (dx, dtable[:entries], None if dbias is None else dbias[:entries], jnp.zeros(0, x_BLD.dtype))


def _backward(operand_dtype, kept, saved, above):
    dx, dtable, dbias, x = saved
    g = above[0]  # the hits have no derivative
    dx = (dx * g.astype(dx.dtype)).astype(x.dtype)
    return dx, dtable * g, None if dbias is None else dbias * g, None, None, None


_loss.defvjp(_forward, _backward)


def _operands(x_BLD, table_VD, bias_V, operand_dtype):
    """The table and the bias in the types to multiply, padded with words of zero probability.

    A GPU's tensor cores need sizes that are multiples of 8, and its tiles of 128; 50,257 is odd.
    """
    table_VD = table_VD.astype(x_BLD.dtype if operand_dtype is None else operand_dtype)
    missing = -len(table_VD) % math.lcm(word_shards(), 128 if platform() == "gpu" else 1)
    if missing:
        bias_V = jnp.zeros(len(table_VD)) if bias_V is None else bias_V
        bias_V = jnp.pad(bias_V, (0, missing), constant_values=NEGATIVE)
        table_VD = jnp.pad(table_VD, ((0, missing), (0, 0)))
    return table_VD, bias_V


def _losses(words, x_BLD, table_VD, bias_V, targets_BL, z_loss, kept=jnp.float32):
    """Losses and hits (B, L), probabilities (B, L, V), log of the denominator (B, L, 1), all float32."""
    x_BLD = x_BLD.astype(table_VD.dtype)
    logits = jnp.einsum("BLD,VD->BLV", x_BLD, table_VD, preferred_element_type=kept)
    if bias_V is not None:
        logits = logits + bias_V.astype(kept)
    best, denominator, first = words.joined(*_largest_and_sum(logits))
    shifted = logits.astype(jnp.float32) - best
    log_sum = jnp.log(denominator)
    log_z = log_sum + best
    if first is None:
        chosen = words.at(shifted, targets_BL)
        hits = chosen == 0
    else:  # of the logits, or the difference would be stored; rounded ones may be equally large
        chosen = words.at(logits, targets_BL).astype(jnp.float32) - best
        hits = first == targets_BL[..., None]
    losses = (log_sum - chosen)[..., 0]
    if z_loss is not None:
        losses = losses + z_loss * jnp.square(log_z[..., 0])
    return losses, hits[..., 0].astype(jnp.float32), jnp.exp(shifted) / denominator, log_z


def _largest_and_sum(logits_BLV):
    """The largest logit, the sum of exp(logit - largest), and the first place of the largest; (B, L, 1).

    On CPUs, and if the gradient is differentiated, the index is None. Accelerators make one pass over the
    logits, since memory limits it: two partial results are joined by scaling both sums to the larger maximum.
    """
    if platform() == "cpu" or differentiated_again.get():
        best = logits_BLV.max(-1, keepdims=True)
        return best, jnp.exp(logits_BLV - best).sum(-1, keepdims=True), None

    def join(one, other):
        best = jnp.maximum(one[0], other[0])
        total = one[1] * jnp.exp(one[0] - best) + other[1] * jnp.exp(other[0] - best)
        earlier = jnp.minimum(one[2], other[2])
        later = jnp.where(one[0] > other[0], one[2], other[2])
        return best, total, jnp.where(one[0] == other[0], earlier, later)

    logits_BLV = logits_BLV.astype(jnp.float32)
    places_BLV = lax.broadcasted_iota(jnp.int32, logits_BLV.shape, 2)
    nothing = jnp.float32(NEGATIVE), jnp.float32(0), jnp.int32(logits_BLV.shape[2])
    joined = lax.reduce((logits_BLV, jnp.ones_like(logits_BLV), places_BLV), nothing, join, (2,))
    return tuple(x[..., None] for x in joined)


def over_pieces(add, start, arrays, entries):
    """Folds `add` over slices of the length of `arrays`, the second of which is (B, L)."""
    batch, length = arrays[1].shape
    at_best = LOGITS_AT_ONCE if platform() == "cpu" else LOGITS_AT_ONCE_ELSEWHERE
    fits = max(at_best // entries // batch, 1)
    at_once = max(n for n in range(1, length + 1) if length % n == 0 and n <= fits)
    if at_once == length:
        return add(start, arrays)
    pieces = [x.reshape(batch, -1, at_once, *x.shape[2:]).swapaxes(0, 1) for x in arrays]
    sums, dx = lax.scan(add, start, tuple(pieces))
    return sums, None if dx is None else dx.swapaxes(0, 1).reshape(arrays[0].shape)
