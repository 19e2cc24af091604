"""Which keys a query attends to, and which implementation computes attention.

Shapes: B batch, L queries, S keys, H heads, K head size.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from research.config import Model
from research.errors import UsageError
from research.models.axes import on_each_device
from research.models.ops.attention import (
    BLOCKS,
    FLASH_SIZES,
    TPU_LENGTH,
    Segments,
    attention,
    biased_attention,
    probabilities,
)
from research.models.ops.dropout import Mask, chosen_generator
from research.models.parts.positions import adds_to_scores
from research.models.platform import AMPERE, capability, is_differentiated_again, platform
from research.models.precision import compute_dtype

HIDDEN = -1  # number of a key that no query attends to

_recorded: ContextVar[list[Array] | None] = ContextVar("attention probabilities", default=None)

Attend = Callable[[Array, Array, Array, Mask | None], Array]  # q, k, v, dropout mask → (B, L, H, K)


class AttentionMask(NamedTuple):
    """Attention mask specification: fields that are set, except `bias`, restrict the keys of a query."""

    causal: bool  # keys at and before the query's position
    lengths_B: Array | None = None  # number of keys before the padding at the end of each row
    start: Array | None = None  # the first query's position, if a cache holds earlier keys
    padding_B: Array | None = None  # number of padding keys at the start of each row
    documents_BL: Array | None = None  # keys of the query's own document, by number
    bias: Array | None = None  # added to the scores, broadcasts to (B, H, L, S)

    def mask(self, queries: int, keys: int) -> Array | None:
        """The boolean mask, True where to attend, broadcasting to (B, H, L, S); None: attend everywhere."""
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

    def segments(self, queries: int, keys: int) -> Segments | None:
        """Segment ids of queries (B, L) and keys (B, S), equal where padding and documents allow attention.

        None: allowed everywhere, apart from `causal`.
        """
        if self.documents_BL is not None:
            queries_BL = keys_BS = self.documents_BL
        elif self.lengths_B is not None or self.padding_B is not None:
            rows = len(self.lengths_B if self.padding_B is None else self.padding_B)
            queries_BL, keys_BS = jnp.zeros((rows, queries), jnp.int32), jnp.zeros((rows, keys), jnp.int32)
        else:
            return None
        seen = self._replace(causal=False, documents_BL=None).mask(queries, keys)
        return queries_BL, keys_BS if seen is None else jnp.where(seen[:, 0, 0], keys_BS, HIDDEN)


class Choice(NamedTuple):
    used: str  # "xla", "cudnn", "flash" or "splash"
    why: str


FUSED = {"gpu": ("cudnn", "flash"), "tpu": ("splash", "flash")}  # in the order in which auto tries them


def choose(
    config: Model,
    trains: bool,
    documents: bool = False,
    length: int | None = None,
    own_mask: bool = False,
) -> Choice:
    """Chooses the implementation of `model.attention` on this device.

    `trains`: with dropout; `documents`: attention stays within documents; `length`: of sequences, default:
    the longest; `own_mask`: the family has its own mask class. Raises UsageError if the configured
    implementation does not support the model.
    """
    length = config.context if length is None else length
    if config.attention == "xla":
        return Choice("xla", "as set")
    if is_differentiated_again():
        return Choice("xla", "the gradient is differentiated")
    if _recorded.get() is not None:
        return Choice("xla", "the probabilities are recorded")
    special = "the family's mask is of its own class" if own_mask else None
    if adds_to_scores(config):
        special = f"model.positions={config.positions} adds to the scores"
    if config.attention != "auto":
        if why := special or _obstacle(config.attention, config, trains, documents, length):
            raise UsageError(f"model.attention={config.attention}: {why}; expected auto or xla")
        return Choice(config.attention, "as set")
    if why := special or _old_gpu():
        return Choice("xla", why)
    obstacles = []
    for implementation in FUSED.get(platform(), ()):
        why = _obstacle(implementation, config, trains, documents, length)
        if why is None:
            return Choice(implementation, "; ".join(obstacles) or "the preferred implementation here")
        obstacles.append(f"{implementation}: {why}")
    return Choice("xla", "; ".join(obstacles) or f"the device is a {platform()}")


def _obstacle(implementation: str, config: Model, trains: bool, documents: bool, length: int) -> str | None:
    """Why a fused attention does not support the model; None if it does."""
    dtype, size = compute_dtype(config.precision), config.width // config.heads
    if implementation not in FUSED.get(platform(), ()):
        return f"the device is a {platform()}"
    if why := _old_gpu():
        return why
    if dtype != jnp.bfloat16:
        return f"activations are {dtype}"
    drops = trains and config.dropout != 0
    if implementation == "flash":
        if drops and chosen_generator(config.dropout_generator) != "hash":
            return f"it needs model.dropout_generator=hash, not {config.dropout_generator}"
        if size not in FLASH_SIZES:
            return f"head size {size} is not one of {', '.join(map(str, FLASH_SIZES))}"
        if platform() == "tpu" and length > TPU_LENGTH:
            return f"sequence length {length} exceeds {TPU_LENGTH:,}"
    elif drops:
        return "it has no dropout of attention probabilities"
    if implementation != "cudnn":
        block = BLOCKS[platform()]
        return f"sequence length {length} is not a multiple of {block}" if length % block else None
    if size % 8 or size > 128:
        return f"head size {size} is not a multiple of 8 up to 128"
    return "it cannot restrict attention to documents" if documents else None


def _old_gpu() -> str | None:
    """Why this GPU runs no fused kernel; None if it does, or on other devices."""
    if platform() != "gpu":
        return None
    found = capability()
    if found is None:
        return "the GPU is not made by NVIDIA"
    return None if found >= AMPERE else f"the GPU's compute capability is {found[0]}.{found[1]}, below 8.0"


def attend_by(
    implementation: str, attention_mask: AttentionMask, queries: int, keys: int, interpret: bool = False
) -> Attend:
    """Attention under `attention_mask`, with the mask computed once for all layers.

    `interpret` runs the kernels of flash and splash on any device, slowly.
    """
    if implementation == "cudnn":
        return by_library(attention_mask, "cudnn")
    if implementation == "splash":
        return _by_splash(attention_mask, queries, keys, interpret)
    if implementation == "flash":
        return _by_flash(attention_mask, queries, keys, interpret)
    mask, bias = attention_mask.mask(queries, keys), attention_mask.bias
    causal, recorded = attention_mask.causal and attention_mask.start is None, _recorded.get()

    def attend(q: Array, k: Array, v: Array, dropout_mask: Mask | None) -> Array:
        if recorded is not None:
            recorded.append(probabilities(q, k, mask, bias))
        if bias is not None:
            return biased_attention(q, k, v, mask, dropout_mask, bias)
        return attention(q, k, v, mask, dropout_mask, causal)

    return attend


@contextmanager
def recording() -> Iterator[list[Array]]:
    """Collects the probabilities (B, H, L, S) of every block that runs, without dropout.

    The blocks must be unstacked: arrays that a compiled loop records cannot leave it.
    """
    token = _recorded.set(found := [])
    try:
        yield found
    finally:
        _recorded.reset(token)


def _by_splash(attention_mask: AttentionMask, queries: int, keys: int, interpret: bool) -> Attend:
    from research.models.ops.splash import splash

    segments = attention_mask.segments(queries, keys)

    def on_each(place, qkv, segments):
        attend = splash(qkv[0].shape[2], queries, keys, attention_mask.causal, segments, interpret)
        return attend(*qkv)

    return lambda q, k, v, dropout_mask: on_each_device(on_each, (q, k, v), segments)


def _by_flash(attention_mask: AttentionMask, queries: int, keys: int, interpret: bool) -> Attend:
    from research.models.ops.flash import gpu, tpu
    from research.models.ops.flash.pair import Options

    segments = attention_mask.segments(queries, keys)
    flash = tpu.flash if platform() == "tpu" else gpu.flash

    def on_each(rows, place, qkv, segments, seed=None):
        row, head, heads = jnp.uint32(place[0]), jnp.uint32(place[1]), place[2]
        if seed is not None and seed.shard is not None:
            row = row + seed.shard * jnp.uint32(rows)
        options = Options(attention_mask.causal, heads, interpret)
        return flash(qkv, segments, seed, (row, head), options)

    def attend(q, k, v, seed):
        # The projection's result was split into q, k and v: the compiler sees that this joins them again.
        return on_each_device(partial(on_each, len(q)), jnp.stack([q, k, v], axis=2), segments, seed)

    return attend


def by_library(attention_mask: AttentionMask, implementation: str) -> Attend:
    """JAX's own attention, without dropout of probabilities and without a cache."""
    return lambda q, k, v, dropout_mask: jax.nn.dot_product_attention(
        q,
        k,
        v,
        is_causal=attention_mask.causal,
        key_value_seq_lengths=attention_mask.lengths_B,
        implementation=implementation,
    )
