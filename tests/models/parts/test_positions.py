"""Laws of rotary positions."""

import jax.numpy as jnp
import numpy as np

from research.config import Model
from research.models.parts.positions import positions
from tests.models.derivatives import arrays

MODEL = Model(
    family="gpt2", vocabulary=8, context=64, width=24, depth=1, heads=3, positions="rotary"
)  # heads of 8


def rotate(x_BLHK, places_BL=None):
    return positions(MODEL).rotation(None, places_BL, x_BLHK.shape[1])(x_BLHK, x_BLHK)[0]


def test_pairs_turn_as_complex_numbers():
    (x,) = arrays((2, 5, 3, 8))
    angles = np.arange(5)[:, None] * 10_000.0 ** (-np.arange(4) / 4)
    x_64 = np.asarray(x, np.float64)
    z = (x_64[..., :4] + 1j * x_64[..., 4:]) * np.exp(1j * angles)[:, None]
    np.testing.assert_allclose(rotate(x), np.concatenate([z.real, z.imag], -1), atol=1e-5)


def test_products_depend_on_the_distance_alone():
    q, k = arrays((1, 6, 3, 8), (1, 6, 3, 8))

    def scores(shift):
        places = jnp.arange(6)[None] + shift
        return jnp.einsum("blhk,bshk->bhls", rotate(q, places), rotate(k, places))

    np.testing.assert_allclose(scores(40), scores(0), atol=1e-4)
    assert abs(scores(0) - jnp.einsum("blhk,bshk->bhls", q, k)).max() > 0.1


def test_rows_with_places_of_their_own():
    (x,) = arrays((2, 5, 3, 8))
    places = jnp.stack([jnp.arange(5), jnp.arange(5) + 7])
    both = rotate(x, places)
    for row in range(2):
        np.testing.assert_allclose(both[row], rotate(x[row : row + 1], places[row : row + 1])[0], atol=1e-6)


def test_type_is_kept():
    (x,) = arrays((1, 5, 3, 8))
    assert rotate(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
