"""The hand-written derivatives equal autodiff of the plain formulas."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from research.models import dot_product, primitives
from research.models.vocabulary_loss import vocabulary_loss

KEY = jax.random.key(0)


def arrays(*shapes):
    return [jax.random.normal(jax.random.fold_in(KEY, i), shape) for i, shape in enumerate(shapes)]


def assert_same(ours, plain, *arguments, tolerance=2e-6):
    """Values and all gradients, of a random weighting of the output."""
    weights = jax.random.normal(KEY, jax.eval_shape(plain, *arguments).shape)
    wanted = [i for i, argument in enumerate(arguments) if argument is not None]
    for function in (lambda f: f(*arguments), lambda f: jax.grad(weighted(f, weights), wanted)(*arguments)):
        for a, b in zip(jax.tree.leaves(function(ours)), jax.tree.leaves(function(plain)), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(abs(b).max()))


def weighted(function, weights):
    return lambda *arguments: (function(*arguments) * weights).sum()


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


@pytest.mark.parametrize("length", [8, 2_048, 607])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_vocabulary_loss(length, has_bias, z_loss, monkeypatch):
    """Whole, in pieces, and in pieces of one position where the length is prime."""
    B, D, V = 2, 8, 50
    monkeypatch.setattr("research.models.vocabulary_loss.LOGITS_AT_ONCE", 512 * V)
    x, table, bias, weights = arrays((B, length, D), (V, D), (V,), (B, length))
    bias = bias if has_bias else None
    targets = jax.random.randint(KEY, (B, length), 0, V)

    def plain(x, table, bias):
        logits = x @ table.T + (0 if bias is None else bias)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)[..., 0]
        penalty = z_loss * jnp.square(jax.nn.logsumexp(logits, axis=-1))
        return ((penalty - chosen) * weights).sum()

    assert_same(
        lambda *a: 3 * vocabulary_loss(*a, targets, weights, z_loss)[0],
        lambda *a: 3 * plain(*a),
        x,
        table,
        bias,
        tolerance=5e-6,
    )
    hits = (x @ table.T + (0 if bias is None else bias)).argmax(-1) == targets
    np.testing.assert_allclose(
        vocabulary_loss(x, table, bias, targets, weights)[1], weights[hits].sum(), rtol=1e-5, atol=1e-5
    )


def test_vocabulary_loss_never_holds_all_logits():
    """Read off the compiled gradient: four times the tokens take less than a tenth of the logits more."""
    D, V = 8, 16_384

    def temporaries(length):
        x, table = (
            jax.ShapeDtypeStruct((1, length, D), jnp.float32),
            jax.ShapeDtypeStruct((V, D), jnp.float32),
        )
        targets, weights = (jax.ShapeDtypeStruct((1, length), t) for t in (jnp.int32, jnp.float32))
        gradient = jax.grad(lambda x, table, *rest: vocabulary_loss(x, table, None, *rest)[0], (0, 1))
        done = jax.jit(gradient).lower(x, table, targets, weights).compile()
        return done.memory_analysis().temp_size_in_bytes

    more = temporaries(32_768) - temporaries(8_192)
    assert more < 0.1 * (32_768 - 8_192) * V * 4
    assert temporaries(32_768) < 0.2 * 32_768 * V * 4


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


@pytest.mark.parametrize("length", [8, 7])
def test_vocabulary_loss_in_bfloat16_products_stays_near_float32(length):
    x, table = arrays((2, length, 16), (50, 16))
    targets, weights = jax.random.randint(KEY, (2, length), 0, 50), jnp.full((2, length), 1 / (2 * length))

    def both(multiplied):
        loss = jax.value_and_grad(
            lambda x, table: vocabulary_loss(x, table, None, targets, weights, 0.0, multiplied)[0], (0, 1)
        )
        return jax.tree.leaves(jax.jit(loss)(x, table))

    for exact, rounded in zip(both(None), both(jnp.bfloat16), strict=True):
        assert rounded.dtype == jnp.float32
        error = float(jnp.linalg.norm(rounded - exact) / jnp.linalg.norm(exact))
        assert 0 < error < 0.02


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_filled_up_vocabulary_changes_nothing(has_bias, monkeypatch):
    """As on a GPU: 50 words are multiplied as 128."""
    x, table, bias = arrays((2, 8, 16), (50, 16), (50,))
    bias = bias if has_bias else None
    targets, weights = jax.random.randint(KEY, (2, 8), 0, 50), jnp.ones((2, 8))

    def everything():
        loss = lambda x, table, bias: vocabulary_loss(x, table, bias, targets, weights, 0.1)  # noqa: E731
        wanted = (0, 1, 2) if has_bias else (0, 1)
        value, gradients = jax.value_and_grad(loss, wanted, has_aux=True)(x, table, bias)
        return jax.tree.leaves((value, gradients))

    plain = everything()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for found, wanted in zip(everything(), plain, strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * float(abs(wanted).max()))
