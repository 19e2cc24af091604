"""Hand-written derivatives of the matrix product against autodiff of the plain formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from research.models.ops.linear import linear
from research.models.parts.activations import gelu_erf, gelu_tanh, relu_squared, swiglu
from tests.models.derivatives import arrays, assert_keeps_types, assert_same, assert_same_curvature
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("outputs", [(7,), (3, 4)])
@pytest.mark.parametrize("keep_axes", [False, True])
def test_linear(has_bias, outputs, keep_axes):
    def plain(x, kernel, bias):
        y = jnp.tensordot(x, kernel, 1)
        return y if bias is None else y + bias

    x, kernel, bias = arrays((2, 5, 6), (6, *outputs), outputs)
    given = x, kernel, bias if has_bias else None
    assert_same(lambda *a: linear(*a, None, keep_axes), plain, *given)


@pytest.mark.parametrize("activation", [gelu_tanh, swiglu])
def test_a_gpu_computes_activations_again(activation, monkeypatch):
    """The same gradients, of another program."""
    x, gate, kernel, bias = arrays((2, 5, 6), (2, 5, 6), (6, 3), (3,))
    x = (x, gate) if activation is swiglu else x

    def gradients():
        loss = lambda *a: jnp.sin(linear(*a, None, False, activation)).sum()  # noqa: E731
        return jax.tree.leaves(jax.grad(loss, (0, 1, 2))(x, kernel, bias))

    expected = gradients()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for found, wanted in zip(gradients(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_operands_are_saved_as_they_came(dtype):
    """In a loop over layers anything else would be one more array of all layers."""
    x, kernel, bias = arrays((2, 5, 6), (6, 3, 4), (3, 4))
    saved = jax.tree.leaves(jax.vjp(lambda *a: linear(*a, dtype), x, kernel, bias)[1])
    saved = [leaf for leaf in saved if leaf.size > 1]
    assert sorted(leaf.shape for leaf in saved) == [(2, 5, 6), (6, 3, 4)]
    assert {leaf.dtype for leaf in saved} == {x.dtype}


@pytest.mark.parametrize("rows", [(1, 7), pytest.param((2, 8), marks=pytest.mark.slow)])
@pytest.mark.parametrize("outputs", [(24,), (3, 8), (2, 2), (3,)])
def test_operands_are_rounded_and_products_summed_in_float32(rows, outputs):
    """Value and gradients are those in float32 of operands that were rounded first, to float32's rounding.

    Whichever operand is transposed for the kernel's gradient, or none, of an odd number of rows.
    """

    def rounded(x):
        return x.astype(jnp.bfloat16).astype(jnp.float32)

    @jax.jit
    def ours(x, kernel, bias, dy):
        y, back = jax.vjp(lambda *a: linear(*a, jnp.bfloat16), x, kernel, bias)
        return y, *back(dy)

    x, kernel, bias, dy = arrays((*rows, 16), (16, *outputs), outputs, (*rows, *outputs))
    y, dx, dkernel, dbias = ours(x, kernel, bias, dy)
    flat = (
        rounded(x).reshape(-1, 16),
        rounded(kernel).reshape(16, -1),
        rounded(dy).reshape(math.prod(rows), -1),
    )
    x_TD, kernel_DF, dy_TF = (np.asarray(a, np.float64) for a in flat)
    expected = {
        "y": (y, (x_TD @ kernel_DF).reshape(y.shape) + bias),
        "dx": (dx, (dy_TF @ kernel_DF.T).reshape(x.shape)),
        "dkernel": (dkernel, (x_TD.T @ dy_TF).reshape(kernel.shape)),
        "dbias": (dbias, dy.sum((0, 1))),
    }
    for name, (found, wanted) in expected.items():
        assert found.dtype == jnp.float32, name
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * float(abs(wanted).max()), err_msg=name)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("activation", mostly_slow([gelu_tanh, swiglu, gelu_erf, relu_squared], 2))
def test_with_an_activation_only_its_input_is_saved(activation, dtype, has_bias):
    x, gate, kernel, bias = arrays((2, 5, 6), (2, 5, 6), (6, 7), (7,))
    inputs = (x, gate) if activation is swiglu else (x,)
    parameters = kernel, bias if has_bias else None

    def ours(kernel, bias, *inputs):
        return linear(inputs if len(inputs) > 1 else inputs[0], kernel, bias, dtype, activation=activation)

    def plain(kernel, bias, *inputs):
        return linear(activation(*inputs), kernel, bias, dtype)

    assert_same(ours, plain, *parameters, *inputs)
    saved = [leaf.shape for leaf in jax.tree.leaves(jax.vjp(ours, *parameters, *inputs)[1]) if leaf.size > 1]
    assert sorted(saved) == [(2, 5, 6)] * len(inputs) + [(6, 7)]


def test_gradients_by_finite_differences():
    """Independent of autodiff's own rules."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        given = (jnp.asarray(rng.normal(size=shape)) for shape in ((2, 8), (8, 3), (3,)))
        check_grads(linear, tuple(given), order=1, modes=["rev"])


def test_gradients_can_be_differentiated_forwards():
    """As Sophia estimates curvature: equal to the plain formulas' second derivatives."""
    x, kernel = arrays((3, 6), (6, 6))
    assert_same_curvature(lambda x: linear(x, kernel, kernel[0]), lambda x: x @ kernel + kernel[0], x)
    for activation, plain in (
        (gelu_tanh, lambda x: jax.nn.gelu(x, approximate=True)),
        (relu_squared, lambda x: jnp.where(x > 0, x * x, 0)),
    ):
        assert_same_curvature(
            lambda x, activation=activation: linear(x, kernel, kernel[0], activation=activation),
            lambda x, plain=plain: plain(x) @ kernel + kernel[0],
            x,
        )
    assert_same_curvature(
        lambda x: linear((x, x[::-1]), kernel, None, activation=swiglu),
        lambda x: (x * x[::-1] * jax.nn.sigmoid(x[::-1])) @ kernel,
        x,
    )


def test_types():
    (kernel,) = arrays((6, 5))
    assert_keeps_types(lambda x, kernel: linear(x, kernel, None), (2, 6), kernel)
