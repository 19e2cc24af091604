"""Activations, chosen by `model.activation`.

An activation is an elementwise function of an MLP's hidden features (…, F). A function marked `@gated` takes
a second array, which a second linear layer of the MLP, `gate`, computes from the same input. One registered
with settings takes them as the keyword `own`. GELU has a hand-written derivative (see
`research.models.ops.norms` for the reason).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from research.config.names import ACTIVATIONS
from research.config.own import NONE

F = TypeVar("F", bound=Callable[..., Array])


def gated(activation: F) -> F:
    """Marks an activation (hidden features, gate) → (…, F)."""
    activation.gated = True
    return activation


def is_gated(activation: Callable[..., Array]) -> bool:
    return getattr(activation, "gated", False)


def activation(name: str, own: Any) -> Callable[..., Array]:
    """The activation `name`, with its own settings if it has any."""
    return ACTIVATIONS[name] if own == NONE else partial(ACTIVATIONS[name], own=own)


@ACTIVATIONS.register("gelu_tanh")
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


@ACTIVATIONS.register("gelu_erf")
def gelu_erf(x: Array) -> Array:
    """Exact GELU, as Hugging Face's BERT checkpoints expect."""
    return jax.nn.gelu(x, approximate=False)


@ACTIVATIONS.register("relu_squared")
def relu_squared(x: Array) -> Array:
    """Squared ReLU (So et al., 2021)."""
    return jnp.square(jax.nn.relu(x))


@ACTIVATIONS.register("swiglu")
@gated
def swiglu(x: Array, gate: Array) -> Array:
    """`x` times the SiLU of `gate` (Shazeer, 2020)."""
    return x * jax.nn.silu(gate)
