"""Dropout (Srivastava et al., 2014)."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike


def dropout(x: Array, rate: float, key: Array | None) -> Array:
    """Zero a share `rate` of `x` and scale the rest by 1 / (1 - rate). Without a key or a rate, `x`."""
    mask = dropout_mask(x.shape, rate, key, x.dtype)
    return x if mask is None else x * mask


def dropout_mask(shape: tuple[int, ...], rate: float, key: Array | None, dtype: DTypeLike) -> Array | None:
    """The factors of `dropout`: 0, or 1 / (1 - rate). None without a key or a rate."""
    if key is None or rate == 0:
        return None
    return jax.random.bernoulli(key, 1 - rate, shape).astype(dtype) * jnp.asarray(1 / (1 - rate), dtype)
