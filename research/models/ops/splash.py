"""Attention on a TPU by JAX's splash attention, whose kernels do not store the scores.

Fully masked blocks of scores are skipped: half of a causal square.
Shapes: B batch, L queries, S keys, H heads, K head size.
"""

import math
from collections.abc import Callable

import jax
from jax import Array
from jax.experimental.pallas.ops.tpu import splash_attention as library

from research.models.ops.attention import Segments
from research.models.ops.flash.tpu import block_of


def splash(
    heads: int, queries: int, keys: int, causal: bool, segments: Segments | None, interpret: bool = False
) -> Callable[[Array, Array, Array], Array]:
    """A function of q (B, L, H, K), k and v (B, S, H, K) that returns (B, L, H, K), with softmax in float32.

    `interpret` runs the kernels on any device, slowly.
    """
    block_q, block_kv = block_of(queries), block_of(keys)
    sizes = library.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_q_dq=block_q,
        block_kv_dq=block_kv,
    )
    mask = library.CausalMask if causal else library.FullMask
    kernel = library.make_splash_mha_single_device(
        library.MultiHeadMask([mask((queries, keys))] * heads), block_sizes=sizes, interpret=interpret
    )
    numbers = None if segments is None else library.SegmentIds(*segments)

    def attend(q: Array, k: Array, v: Array) -> Array:
        q = q / math.sqrt(q.shape[-1])
        heads_first = (x.swapaxes(1, 2) for x in (q.astype(k.dtype), k, v))
        with jax.named_scope("causal" if causal else "full"):
            y = jax.vmap(kernel)(*heads_first, segment_ids=numbers)
        assert isinstance(y, Array)  # a kernel made to save residuals returns them too
        return y.swapaxes(1, 2)

    return attend
