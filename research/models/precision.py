"""The types of activations and of the operands of matrix products."""

import jax.numpy as jnp

from research.config import Model
from research.errors import UsageError
from research.models.platform import AMPERE, capability, platform


def compute_dtype(precision: str) -> jnp.dtype:
    """The type of activations: `auto` is bfloat16 where native. Norms, softmax and losses are float32."""
    if precision == "auto":
        precision = "float32" if platform() == "cpu" or _before_ampere() else "bfloat16"
    if precision == "float16" and platform() == "tpu":
        raise UsageError("model.precision=float16: a TPU has none; expected bfloat16")
    return jnp.dtype("float32" if precision == "bfloat16_matmul" else precision)


def advice(precision: str) -> str | None:
    """A note for a GPU without bfloat16, on which `auto` is float32."""
    if precision != "auto" or not _before_ampere():
        return None
    return "this GPU has no bfloat16, so model.precision=auto is float32; its products are faster in float16"


def _before_ampere() -> bool:
    return platform() == "gpu" and (capability() or AMPERE) < AMPERE


def matmul_dtype(precision: str) -> jnp.dtype:
    """The type of operands: that of activations, or bfloat16 with `bfloat16_matmul`, fast on CPUs."""
    return jnp.dtype(jnp.bfloat16) if precision == "bfloat16_matmul" else compute_dtype(precision)


def logits_dtype(model: Model) -> jnp.dtype:
    """The type of stored logits in training: `auto` is that of activations on accelerators, else float32."""
    if model.logits != "auto":
        return jnp.dtype(model.logits)
    return jnp.dtype(jnp.float32) if platform() == "cpu" else compute_dtype(model.precision)


def needs_loss_scale(model: Model) -> bool:
    """Whether gradients would underflow without a scale."""
    return model.precision == "float16"
