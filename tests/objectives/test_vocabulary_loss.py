"""The loss over a vocabulary, in pieces: its value, its gradients and the memory that it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.objectives.vocabulary_loss import vocabulary_loss
from tests.models.derivatives import KEY, arrays, assert_same
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


@pytest.mark.parametrize("length", mostly_slow([607, 8, 2_048]))
@pytest.mark.parametrize("has_bias", mostly_slow([True, False]))
@pytest.mark.parametrize("z_loss", mostly_slow([0.1, 0.0]))
def test_vocabulary_loss(length, has_bias, z_loss, monkeypatch):
    """Whole, in pieces, and in pieces of one position where the length is prime."""
    B, D, V = 2, 8, 50
    monkeypatch.setattr("research.objectives.vocabulary_loss.LOGITS_AT_ONCE", 512 * V)
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


@pytest.mark.parametrize("weight", [1.0, 1e-6])
def test_gradients_in_float16_do_not_underflow(weight):
    """With the weights of a batch of a million tokens and a loss scale; half of them would be zero."""
    x, table, bias = arrays((2, 16, 8), (50, 8), (50,))
    targets = jax.random.randint(KEY, (2, 16), 0, 50)
    weights = jnp.linspace(0.1, 1, 32).reshape(2, 16) * weight
    scale = 64 / weight

    def gradients(dtype):
        def loss(x, table, bias):
            return scale * vocabulary_loss(x, table, bias, targets, weights, operand_dtype=dtype)[0]

        found = jax.grad(loss, argnums=(0, 1, 2))(x.astype(dtype), table, bias)
        return [np.asarray(each, np.float32) for each in found]

    for found, expected in zip(gradients(jnp.float16), gradients(jnp.float32), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.02, atol=2e-3 * np.abs(expected).max())


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


@pytest.mark.parametrize("length", [8, 7])
def test_vocabulary_loss_in_bfloat16_products_stays_near_float32(length):
    x, table = arrays((2, length, 16), (50, 16))
    targets, weights = jax.random.randint(KEY, (2, length), 0, 50), jnp.full((2, length), 1 / (2 * length))

    def both(operand_dtype):
        loss = jax.value_and_grad(
            lambda x, table: vocabulary_loss(x, table, None, targets, weights, 0.0, operand_dtype)[0], (0, 1)
        )
        return jax.tree.leaves(jax.jit(loss)(x, table))

    for exact, rounded in zip(both(None), both(jnp.bfloat16), strict=True):
        assert rounded.dtype == jnp.float32
        error = float(jnp.linalg.norm(rounded - exact) / jnp.linalg.norm(exact))
        assert 0 < error < 0.02


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_rounded_logits_stay_near_exact_ones(platform, monkeypatch):
    """Of logits with a deviation of 4: the loss within a thousandth, gradients within a fiftieth."""
    x, table = arrays((4, 64, 16), (1_000, 16))
    targets = jnp.where(
        jnp.arange(64) % 2, (x @ table.T).argmax(-1), jax.random.randint(KEY, (4, 64), 0, 1_000)
    )
    weights = jnp.full((4, 64), 1 / 256)
    monkeypatch.setattr(jax, "default_backend", lambda: platform)

    def everything(kept):
        loss = lambda x, table: vocabulary_loss(x, table, None, targets, weights, 1e-3, None, kept)  # noqa: E731
        (loss, hits), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(x, table)
        return loss, hits, *gradients

    exact, rounded = everything(jnp.float32), everything(jnp.bfloat16)
    assert 0 < abs(rounded[0] - exact[0]) < 1e-3 * exact[0]
    assert abs(rounded[1] - exact[1]) <= 0.02
    for one, other in zip(rounded[2:], exact[2:], strict=True):
        assert one.dtype == jnp.float32
        assert jnp.linalg.norm(one - other) < 0.02 * jnp.linalg.norm(other)


def test_of_equally_large_logits_the_first_is_a_hit(monkeypatch):
    """As `argmax` has it, on accelerators, where rounding makes logits equal."""
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    x, table = jnp.ones((1, 3, 1)), jnp.array([[0.0], [1.0], [1.0], [-1.0]])
    targets, weights = jnp.array([[1, 2, 3]]), jnp.array([[1.0, 10.0, 100.0]])
    assert vocabulary_loss(x, table, None, targets, weights)[1] == 1


def test_evaluation_keeps_exact_logits():
    x, table = arrays((1, 4, 16), (50, 16))
    rest = jnp.zeros((1, 4), jnp.int32), jnp.ones((1, 4)), 0.0, None
    rounded, exact = (vocabulary_loss(x, table, None, *rest, kept)[0] for kept in (jnp.bfloat16, jnp.float32))
    assert rounded == exact


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
