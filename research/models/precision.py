"""The type of activations."""

import jax
import jax.numpy as jnp


def compute_dtype(precision: str) -> jnp.dtype:
    """`auto` is bfloat16 where it is native; norms, softmax and losses are float32 in any case."""
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(precision)
