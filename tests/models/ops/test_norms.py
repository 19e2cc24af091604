"""Hand-written derivatives of norms against autodiff of the plain formulas."""

import jax.numpy as jnp
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
