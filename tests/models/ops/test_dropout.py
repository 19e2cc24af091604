"""Dropout's masks: their share, their independence, and the backward pass that makes them again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.models.ops.attention import attention
from research.models.ops.dropout import Seed, afresh, dropout, dropout_mask, factors, hashed

WORDS = jnp.array([123_456_789, 987_654_321], jnp.uint32)
SHAPE = (16, 4, 128, 256)  # two million numbers


@pytest.fixture(scope="module")
def bits() -> np.ndarray:
    return np.asarray(hashed(WORDS, SHAPE))


def test_every_bit_is_set_half_of_the_time(bits):
    """Five standard deviations of a fair coin."""
    for bit in range(32):
        assert abs(((bits >> bit) & 1).mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)


def test_values_fall_evenly_into_bins(bits):
    counts = np.bincount((bits >> 22).ravel(), minlength=1_024)
    chi = ((counts - bits.size / 1_024) ** 2 / (bits.size / 1_024)).sum()
    assert abs(chi - 1_023) < 5 * np.sqrt(2 * 1_023)


@pytest.mark.parametrize(
    ("axis", "step"),
    [(axis, step) for axis in range(4) for step in (1, 2, 32) if step < SHAPE[axis]],
)
def test_neighbours_on_every_axis_are_uncorrelated(bits, axis, step):
    uniform = bits.astype(np.float64) / 2**32 - 0.5
    one, other = (np.take(uniform, range(start, SHAPE[axis] - step + start), axis) for start in (0, step))
    assert abs((one * other).mean() * 12) < 5 / np.sqrt(one.size)


def test_other_words_give_other_numbers(bits):
    for words in (WORDS.at[0].add(1), WORDS.at[1].add(1), WORDS[::-1]):
        other = np.asarray(hashed(words, SHAPE))
        assert (bits == other).mean() < 1e-6
        assert abs(np.corrcoef(bits.ravel()[:1_000_000], other.ravel()[:1_000_000])[0, 1]) < 5e-3


def test_no_row_comes_twice(bits):
    rows = bits.reshape(-1, SHAPE[-1])
    assert len(np.unique(rows[:, :4], axis=0)) == len(rows)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_the_share_and_the_mean(rate):
    mask = np.asarray(factors(Seed(WORDS, jnp.float32(rate)), SHAPE, jnp.float32))
    assert set(np.unique(mask)) == {0, np.float32(1 / (1 - rate))}
    assert (mask == 0).mean() == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / mask.size))


def test_the_gradient_has_the_same_mask():
    x, key = jnp.ones((8, 16)), jax.random.key(0)
    y, pull_back = jax.vjp(lambda x: dropout(x, 0.5, key, "hash"), x)
    np.testing.assert_array_equal(pull_back(jnp.ones_like(y))[0], y)
    assert 0 < (y == 0).mean() < 1


def test_attention_is_the_same_with_a_mask_and_with_its_seed():
    keys = jax.random.split(jax.random.key(1), 4)
    q, k, v, do = (jax.random.normal(key, (2, 6, 3, 8)) for key in keys)
    seed = dropout_mask((2, 3, 6, 6), 0.3, jax.random.key(2), q.dtype, "hash")
    array = factors(seed, (2, 3, 6, 6), q.dtype)
    found, expected = (
        jax.vjp(lambda q, k, v, mask=mask: attention(q, k, v, None, mask), q, k, v) for mask in (seed, array)
    )
    np.testing.assert_array_equal(found[0], expected[0])
    for one, other in zip(found[1](do), expected[1](do), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_array_is_not_made_again():
    mask = jnp.ones(3)
    assert afresh(mask, jnp.zeros(())) is mask


def test_the_mask_is_the_same_however_devices_share_it():
    shape, seed = (8, 4, 16, 16), Seed(WORDS, jnp.float32(0.3))
    mesh = jax.make_mesh((2, 4), ("rows", "heads"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows", "heads"))

    def mask():
        return factors(seed, shape, jnp.float32)

    np.testing.assert_array_equal(jax.jit(mask, out_shardings=split)(), mask())


def test_a_pass_that_is_computed_again_has_the_same_mask():
    x, key = jax.random.normal(jax.random.key(3), (8, 16)), jax.random.key(4)

    def squared(x):
        return jnp.square(dropout(jnp.sin(x), 0.4, key, "hash")).sum()

    again = jax.jit(jax.grad(jax.checkpoint(squared)))(x)
    np.testing.assert_allclose(again, jax.grad(squared)(x), rtol=1e-6)
