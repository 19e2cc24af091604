"""Laws of rotary positions and of biased scores."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.config import Model
from research.config.names import POSITIONS
from research.errors import UsageError
from research.models.attention_choice import choose
from research.models.axes import BOTH, parameter
from research.models.decoding import decode, decoder, empty
from research.models.parts.positions import Positions, positions
from research.models.platform import tracing_for
from research.models.sites import observed
from tests.drawn import drawn
from tests.models.derivatives import arrays

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

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


@pytest.mark.parametrize("heads", [1, 3, 4, 6, 12, 25])
@pytest.mark.filterwarnings("default")
def test_alibis_slopes_are_those_of_bloom(heads):
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom", reason="needs the extra parity")
    model = replace(MODEL, width=8 * heads, heads=heads, positions="alibi")
    bias_HLS = positions(model).bias(None, jnp.arange(7), jnp.arange(7))
    theirs = bloom.build_alibi_tensor(torch.ones(1, 7), heads, torch.float32).numpy()  # (H, 1, 7), of keys
    ours = bias_HLS - bias_HLS[:, :, :1]  # a softmax does not see what all keys of a query share
    for query in range(7):
        np.testing.assert_allclose(ours[:, query, : query + 1], theirs[:, 0, : query + 1], rtol=1e-6)


@POSITIONS.register("test_window")
class Window(Positions):
    """Four keys, with a learned bias for each distance (as T5's)."""

    def init(self, init, key):
        return parameter(init(key, (4, self.model.heads)), None, BOTH)

    def bias(self, parameter, queries, keys):
        distances = queries[..., :, None] - keys[..., None, :]
        bias = jnp.moveaxis(parameter[...][jnp.clip(distances, 0, 3)], -1, -3)
        return jnp.where((distances < 4)[..., None, :, :], bias, -jnp.inf)


def windowed(family="gpt2", norm="pre"):
    config = replace(MODEL, family=family, norm=norm, positions="test_window", depth=2)
    return drawn(config)


def test_a_bias_that_hides_keys_hides_them():
    """A token five before in one block, and seven in two, has no influence; a nearer one has."""
    model = windowed()
    tokens = jnp.asarray([[1, 2, 3, 4, 5, 6, 7, 1, 2, 3]])
    last = model.features(tokens)[0, -1]
    assert (model.features(tokens.at[0, 2].set(7))[0, -1] == last).all()
    assert abs(model.features(tokens.at[0, 3].set(7))[0, -1] - last).max() > 0
    _, probabilities = observed(model.features, ["**/probabilities"])(tokens)
    found = np.stack(list(probabilities.values()))
    seen = np.tri(10, dtype=bool) & ~np.tri(10, k=-4, dtype=bool)
    assert (found[..., ~seen] == 0).all() and (found[..., seen] > 0).all()
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("family, norm", [("gpt2", "pre"), ("bert", "post")])
def test_a_learned_bias_learns(family, norm):
    model = windowed(family, norm)
    tokens = jnp.asarray([[1, 2, 3, 4, 5, 6]])
    gradient = jax.grad(lambda m: jnp.square(m.features(tokens)[0, -1, 0]))(model)
    assert (abs(gradient.positions[...]) > 0).all()


@pytest.mark.parametrize("name", ["alibi", "test_window"])
def test_biased_scores_are_decoded_with_a_cache(name):
    """Rows of different lengths, padded on the left, as they are alone."""
    model = drawn(replace(MODEL, positions=name, depth=2))
    rows = [[1, 2, 3, 4, 5, 6, 7], [3, 4, 5, 6]]
    padding = jnp.asarray([0, 3])
    tokens = jnp.asarray([rows[0], [0] * 3 + rows[1]])
    parts, states = decoder(model), []
    cache = empty(model.config, padding, 16)
    for start, stop in ((0, 3), (3, 6), (6, 7)):
        state, cache = decode(parts, tokens[:, start:stop], cache)
        states.append(state)
    found = jnp.concatenate(states, 1)
    for row, pad, ids in zip(found, padding, rows, strict=True):
        np.testing.assert_allclose(row[pad:], model.features(jnp.asarray([ids]))[0], atol=2e-5)


def test_biased_scores_are_xlas():
    model = replace(MODEL, positions="alibi", context=128, precision="bfloat16")
    with tracing_for("gpu", (9, 0)):
        choice = choose(model, True)
        assert choice.used == "xla" and "model.positions=alibi adds to the scores" in choice.why
        with pytest.raises(UsageError, match=r"model\.attention=flash: model\.positions=alibi adds"):
            choose(replace(model, attention="flash"), True)
        own = choose(replace(model, positions="learned"), True, own_mask=True)
        assert own.used == "xla" and "own class" in own.why
