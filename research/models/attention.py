"""Which keys a query sees, and which implementation looks at them.

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
from research.models.precision import compute_dtype

Attend = Callable[[Array, Array, Array, Array | None], Array]  # q, k, v, keep → (B, L, H, K)


class AttentionMask(NamedTuple):
    """What a query sees of the keys."""

    causal: bool  # those at and before its own position alone
    lengths_B: Array | None = None  # … and of each row no padding
    start: Array | None = None  # where the first query stands, when keys were seen before
    padding_B: Array | None = None  # … and of each row, how many of the first places are padding
    documents_BL: Array | None = None  # … and those of its own document alone, by number

    def mask(self, queries: int, keys: int) -> Array | None:
        """Boolean, broadcasting to (B, H, L, S)."""
        seen = None
        if self.causal:
            positions_L = jnp.arange(queries) + (0 if self.start is None else self.start)
            seen = (positions_L[:, None] >= jnp.arange(keys)[None, :])[None, None]
        if self.lengths_B is not None:
            real = (jnp.arange(keys) < self.lengths_B[:, None])[:, None, None]
            seen = real if seen is None else seen & real
        if self.padding_B is not None:
            real = (jnp.arange(keys) >= self.padding_B[:, None])[:, None, None]
            seen = real if seen is None else seen & real
        if self.documents_BL is not None:
            own = (self.documents_BL[:, :, None] == self.documents_BL[:, None, :])[:, None]
            seen = own if seen is None else seen & own
        return seen


class Choice(NamedTuple):
    used: str  # "xla" or "cudnn"
    why: str


def choose(config: Model, trains: bool, documents: bool = False) -> Choice:
    """What `model.attention` comes to on this device; `trains` with dropout or not, and within `documents`?

    Raises UsageError where cuDNN is asked for and cannot serve.
    """
    size = config.width // config.heads
    obstacles = {
        f"the device is a {jax.default_backend()}": jax.default_backend() != "gpu",
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
    """Attention under `attention_mask`; what all layers share of it is made once."""
    if implementation == "cudnn":
        return by_library(attention_mask, "cudnn")
    mask = attention_mask.mask(queries, keys)
    causal = attention_mask.causal and attention_mask.start is None
    return lambda q, k, v, keep: attention(q, k, v, mask, keep, causal)


def by_library(attention_mask: AttentionMask, implementation: str) -> Attend:
    """JAX's own attention, which takes no mask of probabilities and no keys seen before."""
    return lambda q, k, v, keep: jax.nn.dot_product_attention(
        q,
        k,
        v,
        is_causal=attention_mask.causal,
        key_value_seq_lengths=attention_mask.lengths_B,
        implementation=implementation,
    )
