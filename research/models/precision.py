"""The types of activations and of the operands of matrix products."""

import jax.numpy as jnp

from research.config import Model
from research.models.platform import AMPERE, capability, platform


def compute_dtype(precision: str) -> jnp.dtype:
    """`auto` is bfloat16 where it is native; norms, softmax and losses are float32 in any case."""
    if precision == "auto":
        before = platform() == "gpu" and (capability() or AMPERE) < AMPERE
        precision = "float32" if platform() == "cpu" or before else "bfloat16"
    return jnp.dtype("float32" if precision == "bfloat16_matmul" else precision)


def matmul_dtype(precision: str) -> jnp.dtype:
    """The activations', or with `bfloat16_matmul` bfloat16: CPUs multiply it fast, and add up in float32."""
    return jnp.dtype(jnp.bfloat16) if precision == "bfloat16_matmul" else compute_dtype(precision)


def logits_dtype(model: Model) -> jnp.dtype:
    """The type in which training keeps logits: `auto` is the activations' on accelerators, else float32."""
    if model.logits != "auto":
        return jnp.dtype(model.logits)
    return jnp.dtype(jnp.float32) if platform() == "cpu" else compute_dtype(model.precision)
