"""Activations of an MLP's hidden features, elementwise; GELU with its derivative written by hand.

Why by hand: see `research.models.ops.norms`.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_vjp
def gelu_tanh(x: Array) -> Array:
    """GELU by its tanh approximation (Hendrycks & Gimpel, 2016), as in all three originals."""
    return _gelu_forward(x)[0]


def _gelu_forward(x):
    return 0.5 * x * (1 + _gelu_tanh_of(x)), x


def _gelu_tanh_of(x):
    return jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))


def _gelu_backward(x, dy):
    tanh = _gelu_tanh_of(x)
    inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return (dy * (0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * inner),)


gelu_tanh.defvjp(_gelu_forward, _gelu_backward)


def gelu_erf(x: Array) -> Array:
    """Exact GELU, as Hugging Face's BERT checkpoints expect."""
    return jax.nn.gelu(x, approximate=False)


def relu_squared(x: Array) -> Array:
    """Squared ReLU (So et al., 2021, Primer)."""
    return jnp.square(jax.nn.relu(x))


def swiglu(x: Array, gate: Array) -> Array:
    """`x` times the SiLU of `gate`, both linear functions of the same input (Shazeer, 2020)."""
    return x * jax.nn.silu(gate)
