"""Which keys a query attends to, and which implementation computes attention.

Shapes: B batch, L queries, S keys, H heads, K head size.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from research.config import Model
from research.errors import UsageError
from research.models.ops.attention import attention
from research.models.platform import platform
from research.models.precision import compute_dtype

Attend = Callable[[Array, Array, Array, Array | None], Array]  # q, k, v, dropout mask → (B, L, H, K)


class AttentionMask(NamedTuple):
    """Which keys a query attends to. Every field that is set narrows them further."""

    causal: bool  # keys at and before the query's position
    lengths_B: Array | None = None  # the first keys of each row: padding is at its end
    start: Array | None = None  # the first query's position, where a cache holds the keys before it
    padding_B: Array | None = None  # all but the first keys of each row: padding is at its start
    documents_BL: Array | None = None  # keys of the query's own document, by number

    def mask(self, queries: int, keys: int) -> Array | None:
        """Boolean, True where to attend, broadcasting to (B, H, L, S); None: everywhere."""
        masks = []
        if self.causal:
            positions_L = jnp.arange(queries) + (0 if self.start is None else self.start)
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


class Choice(NamedTuple):
    used: str  # "xla" or "cudnn"
    why: str


def choose(config: Model, trains: bool, documents: bool = False) -> Choice:
    """The implementation that `model.attention` means on this device.

    `trains`: with dropout; `documents`: attention stays within documents. Raises UsageError where cuDNN is
    asked for and does not support the model.
    """
    size = config.width // config.heads
    obstacles = {
        f"the device is a {platform()}": platform() != "gpu",
        f"activations are {compute_dtype(config.precision)}": compute_dtype(config.precision) != jnp.bfloat16,
        f"heads are of {size}, no multiple of 8 up to 128": size % 8 != 0 or size > 128,
        "attention probabilities are dropped out": trains and config.dropout > 0,
        "attention stays within documents": documents,
    }
    obstacle = next((why for why, stands in obstacles.items() if stands), None)
    if config.attention == "xla":
        return Choice("xla", "asked for")
    if config.attention == "cudnn" and obstacle:
        raise UsageError(f"model.attention=cudnn: {obstacle}; expected auto or xla")
    return Choice("xla", obstacle) if obstacle else Choice("cudnn", "nothing stands against it")


def attend_by(implementation: str, attention_mask: AttentionMask, queries: int, keys: int) -> Attend:
    """Attention under `attention_mask`. The mask is computed once for all layers."""
    if implementation == "cudnn":
        return by_library(attention_mask, "cudnn")
    mask = attention_mask.mask(queries, keys)
    causal = attention_mask.causal and attention_mask.start is None
    return lambda q, k, v, dropout_mask: attention(q, k, v, mask, dropout_mask, causal)


def by_library(attention_mask: AttentionMask, implementation: str) -> Attend:
    """JAX's own attention, which supports no dropout of probabilities and no cache."""
    return lambda q, k, v, dropout_mask: jax.nn.dot_product_attention(
        q,
        k,
        v,
        is_causal=attention_mask.causal,
        key_value_seq_lengths=attention_mask.lengths_B,
        implementation=implementation,
    )
