"""Blocks of another package: in training, in decoding, and with weights of a plain model."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research import models, weights
from research.api.activations import attention_probabilities, site_shapes
from research.api.inputs import encode
from research.bench.parameter_table import parameter_table
from research.config import Model, Optimizer, Parts, Schedule
from research.config.names import BLOCKS
from research.config.settings import override
from research.errors import UsageError
from research.models.decoding import decode, decoder, empty
from research.models.linear import Linear
from research.models.parameters import by_path
from research.models.parts.blocks import MLP, Block, auxiliary_loss
from research.models.sites import observed
from research.optimizers.optimizer import optimizer
from research.runs.state import initial_state
from research.training.loop import train
from research.training.resolving.from_weights import architecture
from research.training.step import step_of
from research.weights.formats import huggingface, huggingface_config
from tests.mostly_slow import mostly_slow
from tests.training.tiny import quickstart

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

OUTSIDE = Path(__file__).parents[2] / "launch" / "outside" / "blocks.py"
MODEL = Model(family="gpt2", vocabulary=41, context=16, width=24, depth=2, heads=2)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 41, (4, 12)), jnp.int32)
INPUTS = encode(np.asarray(TOKENS), None, 41, False)


class Steep(Block):
    """Adds the mean square of its input to the loss."""

    def __call__(self, x_BLD, attend, rotate, key=None, cache=None):
        auxiliary_loss(20.0 * jnp.square(x_BLD).mean())
        return super().__call__(x_BLD, attend, rotate, key, cache)


class Louder(Block):
    """Adds its number, from 0, to the state."""

    reads_layer = True

    def __call__(self, x_BLD, attend, rotate, key=None, cache=None):
        return x_BLD + jnp.float32(attend.layer), cache


class AdaptedMLP(MLP):
    def __init__(self, config, init, init_output, *, key):
        super().__init__(config, init, init_output, key=key)
        zeros = lambda key, shape: jnp.zeros(shape)  # noqa: E731
        self.adapter = Linear(config.width, (config.width,), zeros, True, key=key)

    def __call__(self, x_BLD):
        y_BLD = super().__call__(x_BLD)
        return y_BLD + self.adapter(y_BLD)


class AdapterBlock(Block):
    mlp_class = AdaptedMLP


@pytest.fixture(autouse=True)
def registered(registries):
    code = compile(OUTSIDE.read_text(encoding="utf-8"), OUTSIDE, "exec")
    exec(code, {"__name__": "outside"})
    BLOCKS.register("steep")(Steep)
    BLOCKS.register("louder")(Louder)
    BLOCKS.register("adapter")(AdapterBlock)


def built(name: str, **changes):
    """A model with that block, of large random parameters, so that each of its parts matters."""
    model = models.build(replace(MODEL, block=name, **changes), key=jax.random.key(0))
    leaves, structure = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, drawn)


@pytest.mark.parametrize("name", mostly_slow(["linear", "parallel", "experts", "differential"]))
def test_decoding_with_a_cache_equals_the_forward_pass(name):
    """Rows of different lengths, padded on the left, as they are alone."""
    model = built(name)
    rows = [[1, 2, 3, 4, 5, 6, 7], [3, 4, 5, 6]]
    tokens, padding = jnp.asarray([rows[0], [0] * 3 + rows[1]]), jnp.asarray([0, 3])
    cache, states = empty(model.config, padding, 16), []
    for start, stop in ((0, 3), (3, 6), (6, 7)):
        state, cache = decode(decoder(model), tokens[:, start:stop], cache)
        states.append(state)
    for row, pad, ids in zip(jnp.concatenate(states, 1), padding, rows, strict=True):
        np.testing.assert_allclose(row[pad:], model.features(jnp.asarray([ids]))[0], atol=2e-4)


@pytest.mark.parametrize("name", mostly_slow(["experts", "parallel", "differential", "linear"]))
def test_every_parameter_learns_and_is_counted(name):
    model = built(name)
    gradients = by_path(jax.grad(lambda m: jnp.square(m(TOKENS)).mean())(model))
    still = {path for path, gradient in gradients.items() if not abs(gradient).max() > 0}
    assert not still
    total = parameter_table(model.config)[-1]
    assert total.count == sum(leaf.size for leaf in jax.tree.leaves(model))


@pytest.mark.parametrize(
    "returned, named",
    [
        (
            lambda x, cache: x,
            r"model\.block=wrong: its call returned an array alone; expected \(state, cache\)",
        ),
        (
            lambda x, cache: (x.astype(jnp.float16), cache),
            r"type float16; .* \(4, 12, 24\) and type f",
        ),
        (lambda x, cache: (x[:, 1:], cache), r"a state of shape \(4, 11, 24\)"),
    ],
)
def test_a_block_that_returns_something_else_is_named(returned, named):
    call = lambda self, x, attend, rotate, key=None, cache=None: returned(x, cache)  # noqa: E731
    BLOCKS.register("wrong")(type("Wrong", (Block,), {"__call__": call}))
    with pytest.raises(UsageError, match=named):
        jax.eval_shape(models.build(replace(MODEL, block="wrong"), key=jax.random.key(0)), TOKENS)


@pytest.mark.parametrize("remat, unroll", [("none", 1), ("block", 2)])
def test_a_block_reads_its_number(remat, unroll):
    model = models.build(replace(MODEL, block="louder", depth=4), key=jax.random.key(0))
    model.config = replace(model.config, remat=remat, unroll=unroll)
    embedded, *states = model.states(TOKENS)[:-1]
    for state, total in zip(states, (0, 1, 3), strict=True):
        np.testing.assert_allclose(state, embedded + total, rtol=1e-6)
    cache = empty(model.config, jnp.zeros(4, jnp.int32), 16)
    found, _ = decode(decoder(model), TOKENS, cache)
    np.testing.assert_allclose(found, model.features(TOKENS), rtol=1e-5)


def test_a_bert_of_experts_attends_both_ways():
    model = built("experts", family="bert", norm="post")
    changed = model.features(TOKENS.at[:, -1].add(1) % 41)
    assert (abs(changed - model.features(TOKENS))[:, 0] > 0).any()


def test_experts_compute_the_tokens_that_the_router_gives_them():
    """By a loop over tokens in NumPy, as the paper writes it."""
    model = built("experts", own=Parts(block=BLOCKS.settings("experts")(number=3, used=2)))
    mixture = jax.tree.map(lambda leaf: leaf[0], model.blocks).mlp
    x_BLD = jax.random.normal(jax.random.key(2), (2, 3, 24))
    experts = [jax.tree.map(lambda leaf, e=e: leaf[e], mixture.experts) for e in range(3)]
    expected = np.zeros_like(x_BLD)
    for place in np.ndindex(2, 3):
        shares = jax.nn.softmax(mixture.router(x_BLD)[place])
        for expert in np.argsort(shares)[-2:]:
            expected[place] += shares[expert] * experts[expert](x_BLD[place])
    np.testing.assert_allclose(mixture(x_BLD), expected, rtol=1e-4, atol=1e-5)


@jax.numpy_dtype_promotion("standard")  # Optax's Adam raises a float to an integer
@pytest.mark.parametrize("parts", mostly_slow([2, 1]))
def test_blocks_add_a_mean_over_all_tokens_to_the_training_loss(parts, tmp_path):
    changes = {"model.block": "steep", "model.dropout": 0.0}
    experiment = override(quickstart(tmp_path / "text.txt"), changes)
    config, rng = experiment.model, np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(0, 300, (8, 32)), jnp.int32)
    batch = {"tokens": tokens, "targets": tokens, "weights": jnp.ones((8, 32))}
    state = initial_state(experiment)
    inputs = state.model.states(tokens)[: config.depth]
    expected = sum(20.0 * float(jnp.square(x).mean()) for x in inputs)
    plain = override(experiment, {"model.block": "transformer"})
    _, without = jax.jit(step_of(plain))(initial_state(plain), batch)
    _, sums = jax.jit(step_of(override(experiment, {"parallel.accumulate": parts})))(state, batch)
    assert float(sums["auxiliary_loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(sums["loss"]) == pytest.approx(float(without["loss"]) + expected, rel=1e-5)
    assert float(sums["gradient_norm"]) != pytest.approx(float(without["gradient_norm"]), rel=1e-3)


@jax.numpy_dtype_promotion("standard")  # Optax's Adam raises a float to an integer
def test_the_metrics_have_what_blocks_add_and_the_validation_loss_leaves_it_out(tmp_path):
    changes = {"model.block": "steep", "run.steps": 2, "run.evaluate_every": 2, "run.sample": 0}
    experiment = override(quickstart(tmp_path / "text.txt"), changes)
    train(experiment, tmp_path / "run", lambda line: None)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in rows if row["split"] == "train"]
    assert all(row["auxiliary_loss"] > 0 for row in trained)
    assert all("auxiliary_loss" not in row for row in rows if row["split"] == "validation")


@jax.numpy_dtype_promotion("standard")  # Optax's Adam raises a float to an integer
@pytest.mark.parametrize("name", mostly_slow(["muon", "normuon"]))
def test_muon_takes_each_experts_matrix_by_itself(name):
    """The update of experts is that of each one alone."""
    update = optimizer(Optimizer(name=name, rate=Schedule(name="constant", peak=1e-3)), 10)
    kernel = jax.random.normal(jax.random.key(0), (2, 3, 8, 4))

    def updated(path, gradient):
        tree = gradient
        for part in reversed(path):
            tree = {part: tree}
        updates, _ = update.update(tree, update.init(tree), tree, norm=1.0, value=0.0, obj_fn=None)
        return jax.tree.leaves(updates)[0]

    together = updated(("blocks", "mlp", "experts", "expand", "kernel"), kernel)
    alone = [updated(("blocks", "mlp", "expand", "kernel"), kernel[:, e]) for e in range(3)]
    np.testing.assert_allclose(together, np.stack(alone, 1), rtol=1e-4, atol=1e-7)


def test_weights_of_a_plain_model_fill_what_a_block_shares_with_it(tmp_path):
    plain = models.build(MODEL, key=jax.random.key(3))
    huggingface.write(tmp_path / "plain", MODEL, by_path(plain), None)
    adapted = models.build(replace(MODEL, block="adapter"), key=jax.random.key(0))
    filled, report = weights.start(adapted, tmp_path / "plain")
    assert set(report.missing) == {f"blocks/mlp/adapter/{name}" for name in ("kernel", "bias")}
    np.testing.assert_array_equal(filled(TOKENS), plain(TOKENS))


def test_weights_with_a_block_decide_it_and_refuse_another(tmp_path):
    experts = replace(MODEL, block="experts", own=Parts(block=BLOCKS.settings("experts")(number=3)))
    declared = override(quickstart(tmp_path / "text.txt"), {"model.block": "transformer"})
    found = architecture("run", declared, {}, experts)
    assert found["model.block"] == "experts" and found["model.own.block.number"] == 3
    wrong = r"^model\.block=adapter: start.* expected model\.block=experts model\.own\.block\.number=3"
    with pytest.raises(UsageError, match=wrong):
        architecture("run", declared, {"model.block": "adapter"}, experts)
    assert "model.block" not in architecture("run", declared, {"model.block": "adapter"}, MODEL)


def test_a_format_that_has_no_such_block_refuses_it():
    with pytest.raises(UsageError, match=r"model\.block=adapter: Transformers' gpt2 has only transformer"):
        huggingface_config.to_config(replace(MODEL, block="adapter"), None, True)


def test_a_block_without_softmax_has_no_probabilities():
    with pytest.raises(UsageError, match=r"model\.block=linear: its attention has no probabilities"):
        attention_probabilities(built("linear"), INPUTS)
    assert np.shape(attention_probabilities(built("experts"), INPUTS)) == (2, 4, 2, 12, 12)


def test_sites_of_a_block_that_attends_twice_and_of_one_that_maps_over_experts():
    """A second site of a name has a number; what lies within a vmap is edited but cannot be read."""
    twice = site_shapes(built("differential"))
    assert "blocks/1/attention/probabilities" in twice and "blocks/1/attention/probabilities_2" in twice
    once = site_shapes(experts := built("experts"))
    assert "blocks/0/mlp/output" in once and "blocks/0/mlp/features" not in once
    with pytest.raises(UsageError, match="features: cannot be read within a transformation"):
        observed(experts.features, ["blocks/0/mlp/features"])(TOKENS)
    silent, _ = observed(experts.features, edits={"**/mlp/features": jnp.zeros_like})(TOKENS)
    mlps = jax.tree.map(jnp.zeros_like, experts.blocks.mlp.experts.output.kernel)
    experts.blocks.mlp.experts.output.kernel = mlps
    np.testing.assert_allclose(silent, experts.features(TOKENS), rtol=1e-5, atol=1e-5)
