"""Dropout (Srivastava et al., 2014), by JAX's generator or by a hash that is cheap on accelerators.

JAX's threefry takes about 80 integer operations per number, and its masks are kept for the backward pass. The
hash takes ten, so both passes make the mask inside the kernels that use it, and none is stored.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from research.config.hyperparameters import Input
from research.models.platform import platform
from research.scoped import Scoped

input_rate = Scoped[Any]("the rate of models whose rate is the placeholder INPUT", None)
# A uint32 while tracing one of equal parts of a batch's rows, with the hash's masks of the whole batch.
part_of_rows = Scoped[Array | None]("part of the rows", None)


class Seed(NamedTuple):
    """A mask in the form of its seed."""

    words: Array  # uint32 (2,)
    rate: Array  # float32
    shard: Array | None = None  # uint32: of as many rows each, which the array is of; None: it is of all rows


Mask = Array | Seed  # factors of an array: 0, or 1 / (1 - rate)


def dropout(x: Array, rate: float | Input, key: Array | None, generator: str = "threefry") -> Array:
    """Zero a share `rate` of `x` and scale the rest by 1 / (1 - rate). Without a key or a rate, `x`."""
    mask = dropout_mask(x.shape, rate, key, x.dtype, generator)
    if mask is None:
        return x
    return _times(x, mask) if isinstance(mask, Seed) else x * mask


def dropout_mask(
    shape: tuple[int, ...],
    rate: float | Input,
    key: Array | None,
    dtype: DTypeLike,
    generator: str = "threefry",
) -> Mask | None:
    """The mask of `dropout`, which `factors` turns into an array. None without a key or a rate.

    `generator` is model.dropout_generator.
    """
    if key is None or rate == 0:
        return None
    share = input_rate.get() if isinstance(rate, Input) else rate
    if chosen_generator(generator) == "hash":
        return Seed(jax.random.bits(key, (2,)), jnp.float32(share), part_of_rows.get())
    return jax.random.bernoulli(key, 1 - share, shape).astype(dtype) * jnp.asarray(1 / (1 - share), dtype)


def chosen_generator(generator: str) -> str:
    """Resolves auto: threefry on CPUs, else the hash."""
    if generator != "auto":
        return generator
    return "threefry" if platform() == "cpu" else "hash"


def factors(mask: Mask, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    if not isinstance(mask, Seed):
        return mask
    scale = (1 / (1 - mask.rate)).astype(dtype)
    drawn = hashed(mask.words, shape, mask.shard)
    return jnp.where(drawn >= limit_of(mask.rate), scale, jnp.zeros((), dtype))


def limit_of(rate: Array) -> Array:
    """The number below which elements are dropped."""
    return jnp.round(rate * 2.0**32).astype(jnp.uint32)


def afresh(mask: Mask, after: Array) -> Mask:
    """`mask`, recomputed after `after`; otherwise a compiler would store the mask of the first pass."""
    if not isinstance(mask, Seed):
        return mask
    return lax.optimization_barrier((mask, after))[0]


def hashed(words: Array, shape: tuple[int, ...], shard: Array | None = None) -> Array:
    """Random uint32 of `shape`, a function of two words and each element's index, counted from `shard` on.

    Each row (last axis) has its own start and odd step, which number its elements; the number is mixed as in
    MurmurHash3. Devices that share an array each make their own part.
    """
    rows = jnp.zeros((), jnp.uint32) if shard is None else shard
    for axis, size in enumerate(shape[:-1]):
        rows = rows * jnp.uint32(size) + lax.broadcasted_iota(jnp.uint32, (*shape[:-1], 1), axis)
    return hashed_at(words[0], words[1], rows, lax.broadcasted_iota(jnp.uint32, shape, len(shape) - 1))


def hashed_at(word: Array, other: Array, rows: Array, places: Array) -> Array:
    """`hashed` of element indices within rows, numbered through the array; uint32, (…, 1) and (…, places)."""
    first = _mixed(rows + word)
    start = _mixed(first ^ other)
    step = _mixed(first + start) | jnp.uint32(1)
    return _mixed(start + step * places)


def _mixed(x: Array) -> Array:
    """MurmurHash3's finalizer: every bit of the result depends on every bit of `x`."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


@jax.custom_vjp
def _times(x: Array, seed: Seed) -> Array:
    return _times_forward(x, seed)[0]


def _times_forward(x, seed):
    return x * factors(seed, x.shape, x.dtype), seed


def _times_backward(seed, dy):
    return dy * factors(afresh(seed, dy), dy.shape, dy.dtype), None


_times.defvjp(_times_forward, _times_backward)
