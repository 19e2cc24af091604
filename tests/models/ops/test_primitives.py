"""The hand-written derivatives equal autodiff of the plain formulas."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from research.models.ops import dot_product, primitives
from tests.models.derivatives import KEY, arrays, assert_same


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("epsilon", [1e-5, 1e-12])
def test_layer_norm(has_bias, epsilon):
    def plain(x, scale, bias):
        y = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + epsilon) * scale
        return y if bias is None else y + bias

    x, scale, bias = arrays((3, 5, 16), (16,), (16,))
    assert_same(
        lambda *a: primitives.layer_norm(*a, epsilon), plain, 3 * x + 1, scale, bias if has_bias else None
    )


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("outputs", [(7,), (3, 4)])
@pytest.mark.parametrize("apart", [False, True])
def test_linear(has_bias, outputs, apart):
    def plain(x, kernel, bias):
        y = jnp.tensordot(x, kernel, 1)
        return y if bias is None else y + bias

    x, kernel, bias = arrays((2, 5, 6), (6, *outputs), outputs)
    given = x, kernel, bias if has_bias else None
    assert_same(lambda *a: primitives.linear(*a, None, apart), plain, *given)


@pytest.mark.parametrize("multiplied", [None, jnp.bfloat16])
def test_linear_keeps_its_operands_as_they_came(multiplied):
    """In a loop over layers anything else would be one more array of all layers."""
    x, kernel, bias = arrays((2, 5, 6), (6, 3, 4), (3, 4))
    kept = jax.tree.leaves(jax.vjp(lambda *a: primitives.linear(*a, multiplied), x, kernel, bias)[1])
    kept = [leaf for leaf in kept if leaf.size > 1]
    assert sorted(leaf.shape for leaf in kept) == [(2, 5, 6), (6, 3, 4)]
    assert {leaf.dtype for leaf in kept} == {x.dtype}


@pytest.mark.parametrize("rows", [(2, 8), (1, 7)])
@pytest.mark.parametrize("outputs", [(24,), (3, 8), (2, 2), (3,)])
def test_linear_multiplies_what_it_is_told_and_adds_up_in_float32(rows, outputs):
    """Value and gradients are those in float32 of operands that were rounded first, to float32's rounding.

    Whichever operand is transposed for the kernel's gradient, or none, of an odd number of rows.
    """

    def rounded(x):
        return x.astype(jnp.bfloat16).astype(jnp.float32)

    @jax.jit
    def ours(x, kernel, bias, dy):
        y, back = jax.vjp(lambda *a: primitives.linear(*a, jnp.bfloat16), x, kernel, bias)
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
@pytest.mark.parametrize("multiplied", [None, jnp.bfloat16])
@pytest.mark.parametrize("activation", ["gelu_tanh", "gelu_erf"])
def test_linear_of_an_activation_keeps_what_the_activation_was_given(activation, multiplied, has_bias):
    activation = getattr(primitives, activation)

    def ours(x, kernel, bias):
        return primitives.linear(x, kernel, bias, multiplied, activation=activation)

    def plain(x, kernel, bias):
        return primitives.linear(activation(x), kernel, bias, multiplied)

    x, kernel, bias = arrays((2, 5, 6), (6, 7), (7,))
    given = x, kernel, bias if has_bias else None
    assert_same(ours, plain, *given)
    kept = [leaf.shape for leaf in jax.tree.leaves(jax.vjp(ours, *given)[1]) if leaf.size > 1]
    assert sorted(kept) == [(2, 5, 6), (6, 7)]


def test_gelu_tanh():
    assert_same(primitives.gelu_tanh, lambda x: jax.nn.gelu(x, approximate=True), 3 * arrays((4, 33))[0])


def plain_attention(mask, keep):
    def attend(q, k, v):
        scores = jnp.einsum("blhk,bshk->bhls", q, k) / np.sqrt(q.shape[-1])
        probabilities = jax.nn.softmax(scores if mask is None else jnp.where(mask, scores, -jnp.inf))
        probabilities = probabilities if keep is None else probabilities * keep
        return jnp.einsum("bhls,bshk->blhk", probabilities, v)

    return attend


@pytest.mark.parametrize("masked", ["no", "causal", "padding"])
@pytest.mark.parametrize("dropped", [False, True])
def test_attention(masked, dropped):
    q, k, v = arrays((2, 5, 3, 4), (2, 7, 3, 4), (2, 7, 3, 4))
    mask = {
        "no": None,
        "causal": (jnp.arange(5)[:, None] + 2 >= jnp.arange(7))[None, None],
        "padding": jnp.arange(7)[None, None, None] < jnp.array([4, 7])[:, None, None, None],
    }[masked]
    keep = primitives.dropout_mask((2, 3, 5, 7), 0.3, KEY, jnp.float32) if dropped else None

    plain = plain_attention(mask, keep)
    assert_same(lambda q, k, v: dot_product.attention(q, k, v, mask, keep), plain, q, k, v)


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("length", [256, 262])  # the last piece of 262 is short
def test_attention_that_leaves_out_later_keys(length, dropped):
    q, k, v = arrays(*[(2, length, 2, 4)] * 3)
    causal = jnp.tri(length, dtype=bool)[None, None]
    mask = causal & (jnp.arange(length) < jnp.array([9, length])[:, None, None, None])
    keep = primitives.dropout_mask((2, 2, length, length), 0.3, KEY, jnp.float32) if dropped else None

    def attend(q, k, v):
        return dot_product.attention(q, k, v, mask, keep, causal=True)

    assert str(jax.make_jaxpr(attend)(q, k, v)).count("reduce_max") == 4  # softmaxes
    assert_same(attend, plain_attention(mask, keep), q, k, v)


def test_gradients_by_finite_differences():
    """Independent of autodiff's own rules."""
    x, scale, bias = arrays((2, 8), (8,), (8,))
    with jax.enable_x64(True):
        x64, scale64, bias64 = (jnp.asarray(np.asarray(a, np.float64)) for a in (x, scale, bias))
        check_grads(primitives.gelu_tanh, (x64,), order=1, modes=["rev"])
        check_grads(primitives.linear, (x64, jnp.stack([scale64] * 3, 1), bias64[:3]), order=1, modes=["rev"])


@pytest.mark.parametrize("function", ["layer_norm", "linear", "linear of an activation", "gelu_tanh"])
def test_gradients_can_be_differentiated_forwards(function):
    """As Sophia's curvature is made: the same as the plain formulas' second derivatives."""
    x, kernel, along = arrays((3, 6), (6, 6), (3, 6))
    plain_gelu = partial(jax.nn.gelu, approximate=True)
    ours, plain = {
        "layer_norm": (
            lambda x: primitives.layer_norm(x, kernel[0], kernel[1], 1e-5),
            lambda x: jax.nn.standardize(x, epsilon=1e-5) * kernel[0] + kernel[1],
        ),
        "linear": (lambda x: primitives.linear(x, kernel, kernel[0]), lambda x: x @ kernel + kernel[0]),
        "linear of an activation": (
            lambda x: primitives.linear(x, kernel, kernel[0], activation=primitives.gelu_tanh),
            lambda x: plain_gelu(x) @ kernel + kernel[0],
        ),
        "gelu_tanh": (primitives.gelu_tanh, plain_gelu),
    }[function]

    def curvature(f):
        return jax.jvp(jax.grad(lambda x: jnp.square(f(x)).sum()), (x,), (along,))[1]

    np.testing.assert_allclose(curvature(ours), curvature(plain), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("function", ["layer_norm", "linear", "attention"])
def test_parameters_keep_their_type_under_bfloat16(function):
    x, kernel, scale, q = arrays((2, 6), (6, 5), (6,), (1, 4, 2, 3))
    x, q = x.astype(jnp.bfloat16), q.astype(jnp.bfloat16)
    if function == "attention":
        assert dot_product.attention(q, q, q, None, None).dtype == jnp.bfloat16
        return
    call, parameter = {
        "layer_norm": (lambda s: primitives.layer_norm(x, s, None, 1e-5), scale),
        "linear": (lambda w: primitives.linear(x, w, None), kernel),
    }[function]
    assert call(parameter).dtype == jnp.bfloat16
    assert jax.grad(lambda p: call(p).astype(jnp.float32).sum())(parameter).dtype == jnp.float32


def test_dropout_keeps_the_mean_and_drops_its_rate():
    y = primitives.dropout(jnp.ones((400, 400)), 0.1, KEY)
    assert abs(float((y == 0).mean()) - 0.1) < 0.003
    assert abs(float(y.mean()) - 1) < 0.003
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.9], rtol=1e-6)
    assert primitives.dropout(y, 0.1, None) is y and primitives.dropout(y, 0.0, KEY) is y
