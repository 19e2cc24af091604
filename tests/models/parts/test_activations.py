"""Activations against other implementations, and the derivative of GELU written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from research.models.parts.activations import gelu_tanh, relu_squared, swiglu
from tests.models.derivatives import arrays, assert_same, assert_same_curvature


def plain_gelu(x):
    return jax.nn.gelu(x, approximate=True)


def test_gelu_tanh():
    x = 3 * arrays((4, 33))[0]
    assert_same(gelu_tanh, plain_gelu, x)
    assert_same_curvature(gelu_tanh, plain_gelu, x)


def test_gelu_tanh_by_finite_differences():
    """Independent of autodiff's own rules."""
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8)))
        check_grads(gelu_tanh, (x,), order=1, modes=["rev"])


def test_relu_squared_and_swiglu_in_numpy():
    x, gate = (np.asarray(a, np.float64) for a in arrays((4, 33), (4, 33)))
    np.testing.assert_allclose(relu_squared(np.float32(x)), np.where(x > 0, x * x, 0), rtol=1e-6)
    expected = x * gate / (1 + np.exp(-gate))
    np.testing.assert_allclose(swiglu(np.float32(x), np.float32(gate)), expected, rtol=1e-5, atol=1e-6)
