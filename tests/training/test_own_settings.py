"""Settings of one's own reach the part that declares them: in training, in decoding, in a shared program."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from research import models
from research.config.names import ACTIVATIONS, NORMS, OBJECTIVES, OPTIMIZERS, POSITIONS, SCHEDULES
from research.config.settings import override
from research.models.attention import AttentionMask
from research.models.axes import parameter
from research.models.bert import MaskedHead
from research.models.decoding import decode, decoder, empty
from research.models.linear import normal
from research.models.parts.positions import Positions
from research.objectives.next_token import NEXT_TOKEN
from research.runs.record import experiment_of
from research.training import shared_program
from research.training.loop import train
from tests.training.tiny import quickstart, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

MINE = {
    "model.activation": "leaky",
    "model.normalization": "power",
    "model.positions": "window",
    "objective.name": "later",
    "optimizer.name": "heavy",
    "optimizer.rate.name": "halving",
}
EACH = {
    "model.own.activation.slope": 0.7,
    "model.own.normalization.power": 4.0,
    "model.own.positions.size": 2,
    "objective.own.strength": 0.25,
    "optimizer.own.beta": 0.5,
    "optimizer.rate.own.half_life": 1.0,
}


@dataclass(frozen=True)
class Slope:
    slope: float = 0.1


@dataclass(frozen=True)
class Power:
    power: float = 2.0


@dataclass(frozen=True)
class Size:
    size: int = 4


@dataclass(frozen=True)
class Strength:
    strength: float = 1.0


@dataclass(frozen=True)
class Beta:
    beta: float = 0.9


@dataclass(frozen=True)
class HalfLife:
    half_life: float = 10.0


class PowerNorm(nnx.Module):
    def __init__(self, width, epsilon, bias, own):
        self.scale = parameter(jnp.ones(width), "fsdp")
        self.epsilon, self.power = epsilon, own.power

    def __call__(self, x):
        mean = jnp.mean(jnp.abs(x) ** self.power, axis=-1, keepdims=True)
        return x / (mean + self.epsilon) ** (1 / self.power) * self.scale[...]


class Window(Positions):
    def bias(self, parameter, queries, keys):
        distances = queries[..., :, None] - keys[..., None, :]
        return jnp.where(distances < self.model.own.positions.size, 0.0, -jnp.inf)[..., None, :, :]


def later(model, batch, key=None, settings=None):
    length = batch["tokens"].shape[1]
    ramp_L = 1 + settings.own.strength * (2 * (jnp.arange(length) + 1) / (length + 1) - 1)
    weights = batch["weights"] * ramp_L.astype(jnp.float32)
    return NEXT_TOKEN.loss(model, batch | {"weights": weights}, key, settings)


@pytest.fixture(autouse=True)
def registered(registries):
    ACTIVATIONS.register("leaky", settings=Slope)(lambda x, own: jnp.where(x > 0, x, own.slope * x))
    NORMS.register("power", settings=Power)(PowerNorm)
    POSITIONS.register("window", settings=Size)(Window)
    OBJECTIVES.register("later", settings=Strength)(NEXT_TOKEN._replace(loss=later))
    OPTIMIZERS.register("heavy", settings=Beta)(lambda config, rate: optax.sgd(rate, config.own.beta))
    SCHEDULES.register("halving", settings=HalfLife)(
        lambda step, config, steps: 0.5 ** (step / config.own.half_life)
    )


def declared(folder, **changes):
    experiment = quickstart(folder / "text.txt", run__steps=3, run__evaluate_every=3, run__checkpoint_every=3)
    return override(experiment, MINE | {"optimizer.clip": None, "optimizer.rate.peak": 0.1} | changes)


@pytest.mark.slow
@pytest.mark.parametrize("setting", EACH)
def test_each_setting_changes_the_run_and_is_kept_by_its_record(setting, tmp_path):
    train(declared(tmp_path), tmp_path / "default", lambda line: None)
    experiment = declared(tmp_path, **{setting: EACH[setting]})
    train(experiment, tmp_path / "run", lambda line: None)
    assert experiment_of(tmp_path / "run") == experiment != experiment_of(tmp_path / "default")
    losses = [[row["loss"] for row in timeless(tmp_path / name)] for name in ("default", "run")]
    assert losses[0] != losses[1] and np.isfinite(losses).all()


def test_a_window_of_ones_own_size_in_training_and_in_decoding(tmp_path):
    changes = {"model.own.positions.size": 3, "model.depth": 1}
    model = models.build(declared(tmp_path, **changes).model, key=jax.random.key(0))
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 60, (1, 12)), jnp.int32)
    last = model(tokens)[0, -1]
    assert (last == model(tokens.at[0, :9].set(5))[0, -1]).all()  # one block reads three tokens
    assert (last != model(tokens.at[0, 9].set(5))[0, -1]).any()
    cache = empty(model.config, jnp.zeros(1, jnp.int32), 12)
    _, cache = decode(decoder(model), tokens[:, :11], cache)
    decoded, _ = decode(decoder(model), tokens[:, 11:], cache)
    whole = model.forward(tokens, AttentionMask(causal=True)).final_BLD[:, -1:]
    np.testing.assert_allclose(decoded, whole, rtol=1e-5, atol=1e-5)


def test_a_berts_head_has_the_activation_with_its_settings(tmp_path):
    states = -jnp.ones((1, 1, 32))
    outputs = []
    for slope in (0.1, 0.9):
        changes = {"model.family": "bert", "model.width": 32, "model.activation": "leaky"}
        changes |= {"model.own.activation.slope": slope}
        config = override(quickstart(tmp_path / "text.txt"), changes).model
        outputs.append(MaskedHead(config, normal(0.02), key=jax.random.key(0))(states))
    assert (outputs[0] != outputs[1]).any()


@pytest.mark.slow
def test_real_numbers_share_a_program_and_give_the_results_of_constants(tmp_path):
    inputs = {"run.hyperparameters": "inputs"}
    one = declared(tmp_path, **inputs)
    others = {name: value for name, value in EACH.items() if not name.startswith("model.")}
    two = override(one, others)
    assert shared_program.shared_program(one) is shared_program.shared_program(two)
    train(two, tmp_path / "inputs", lambda line: None)
    train(override(two, {"run.hyperparameters": "constants"}), tmp_path / "constants", lambda line: None)
    for row, other in zip(timeless(tmp_path / "inputs"), timeless(tmp_path / "constants"), strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
