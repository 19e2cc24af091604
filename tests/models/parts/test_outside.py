"""Parts of another package: one file, one registration each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from research import models
from research.bench.parameter_table import parameter_table
from research.config import Model
from research.config.names import ACTIVATIONS, NORMS, POSITIONS
from research.errors import UsageError
from research.models.axes import BOTH, parameter
from research.models.decoding import decode, decoder, empty
from research.models.parameters import by_path
from research.models.parts.positions import Positions
from tests.mostly_slow import mostly_slow


@ACTIVATIONS.register("test_relu")
def relu(x):
    return jnp.maximum(x, 0)


@NORMS.register("test_scale")
class Scale(nnx.Module):
    """Scales and does not normalize."""

    def __init__(self, width, epsilon, bias):
        self.scale = parameter(jnp.full(width, 0.5), BOTH)

    def __call__(self, x):
        return x * self.scale[...].astype(x.dtype)


@POSITIONS.register("test_sinusoidal")
class Sinusoidal(Positions):
    """Vaswani et al. (2017), with a learned size."""

    def init(self, init, key):
        return parameter(jnp.ones(self.model.width), BOTH)

    def embed(self, parameter, x_BLD, places):
        places = jnp.arange(x_BLD.shape[1]) if places is None else places
        half = x_BLD.shape[-1] // 2
        angles = places[..., None].astype(jnp.float32) * 10_000.0 ** (-jnp.arange(half) / half)
        return x_BLD + parameter[...] * jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


PARTS = {"activation": "test_relu", "normalization": "test_scale", "positions": "test_sinusoidal"}
SIZES = dict(vocabulary=41, context=16, width=24, depth=2, heads=4)
TOKENS = jnp.arange(22).reshape(2, 11)


@pytest.mark.parametrize("family, norm", mostly_slow([("gpt2", "pre"), ("bert", "post")], 0))
def test_models_have_them(family, norm):
    config = Model(family=family, norm=norm, **SIZES | PARTS)
    model = models.build(config, key=jax.random.key(0))
    assert by_path(model)["positions"].shape == (24,)
    gradients = by_path(jax.grad(lambda m: jnp.square(m.features(TOKENS)).sum())(model))
    assert abs(gradients["positions"]).max() > 0
    plain = models.build(Model(family=family, norm=norm, **SIZES), key=jax.random.key(0))
    assert abs(plain.features(TOKENS) - model.features(TOKENS)).max() > 0.01
    total = parameter_table(config)[-1]
    assert total.count == sum(leaf.size for leaf in jax.tree.leaves(model))


@pytest.mark.slow
def test_decoding_runs_them():
    model = models.build(Model(family="gpt2", **SIZES | PARTS), key=jax.random.key(0))
    parts, states = decoder(model), []
    cache = empty(model.config, jnp.zeros(2), 16)
    for i in range(TOKENS.shape[1]):
        state, cache = decode(parts, TOKENS[:, i : i + 1], cache)
        states.append(state)
    np.testing.assert_allclose(jnp.concatenate(states, 1), model.features(TOKENS), atol=2e-5)


def test_a_name_that_nobody_registered():
    with pytest.raises(UsageError, match=r"model.positions=rotery: not known.*rotary"):
        Model(family="gpt2", **SIZES | {"positions": "rotery"})


@NORMS.register("test_stateful")
class Stateful(nnx.Module):
    def __init__(self, width, epsilon, bias):
        self.inner = nnx.BatchNorm(width, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.inner(x)


def test_a_part_with_a_state_is_refused():
    """Its running mean would be trained, and decayed, as a parameter."""
    with pytest.raises(UsageError, match=r"blocks/attention_norm/inner/mean: a BatchStat would be trained"):
        models.build(
            Model(family="gpt2", **SIZES | {"normalization": "test_stateful"}), key=jax.random.key(0)
        )
