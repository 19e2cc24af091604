"""Hand-written derivatives of norms against autodiff of the plain formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.models.ops.norms import layer_norm, rms_norm
from tests.models.derivatives import arrays, assert_keeps_types, assert_same, assert_same_curvature


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("epsilon", [1e-5, 1e-12])
def test_layer_norm(has_bias, epsilon):
    def plain(x, scale, bias):
        y = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + epsilon) * scale
        return y if bias is None else y + bias

    x, scale, bias = arrays((3, 5, 16), (16,), (16,))
    assert_same(lambda *a: layer_norm(*a, epsilon), plain, 3 * x + 1, scale, bias if has_bias else None)
    assert_same_curvature(lambda x: layer_norm(x, scale, bias, epsilon), lambda x: plain(x, scale, bias), x)


@pytest.mark.parametrize("has_bias", [True, False])
def test_layer_norm_as_a_gpu_computes_it(has_bias, monkeypatch):
    """Whose derivative finds the statistics again in one pass; also of features far from zero."""
    x, scale, bias = arrays((3, 5, 16), (16,), (16,))
    x, bias = x + 30 * jnp.arange(3.0)[:, None, None], bias if has_bias else None

    def gradients():
        return jax.grad(lambda *a: jnp.sin(layer_norm(*a, 1e-5)).sum(), (0, 1))(x, scale, bias)

    expected = gradients()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for found, wanted in zip(gradients(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * float(abs(wanted).max()))


@pytest.mark.parametrize("epsilon", [1e-5, 0.3])
def test_rms_norm(epsilon):
    def plain(x, scale):
        return x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + epsilon) * scale

    x, scale = arrays((3, 5, 16), (16,))
    assert_same(lambda *a: rms_norm(*a, epsilon), plain, 3 * x + 1, scale)
    assert_same_curvature(lambda x: rms_norm(x, scale, epsilon), lambda x: plain(x, scale), x)


def test_types():
    (scale,) = arrays((6,))
    assert_keeps_types(lambda x, scale: layer_norm(x, scale, None, 1e-5), (2, 6), scale)
    assert_keeps_types(lambda x, scale: rms_norm(x, scale, 1e-5), (2, 6), scale)
