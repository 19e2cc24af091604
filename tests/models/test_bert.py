"""Laws of the encoder, and of GPT-1 where it is unlike GPT-2. Values are compared in test_golden."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.config import Model
from research.models import build
from research.models.bert import BERT
from research.models.parameters import path_name
from research.objectives import masked_token, next_token
from tests.drawn import drawn
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

KEY = jax.random.key(1)
BERT_SIZES = Model(
    family="bert", vocabulary=61, context=24, width=24, depth=3, heads=4, norm="post", norm_epsilon=1e-12
)
GPT1_SIZES = replace(BERT_SIZES, family="gpt1", norm_epsilon=1e-5)
BOTH = pytest.mark.parametrize("config", [BERT_SIZES, GPT1_SIZES], ids=["bert", "gpt1"])

TOKENS = jax.random.randint(KEY, (3, 13), 1, 61)
SEGMENTS = (jnp.arange(13) > jnp.array([[4], [6], [2]])).astype(jnp.int32)
LENGTHS = jnp.array([13, 9, 5], jnp.int32)


@jax.jit
def logits(model, tokens, segments, lengths, key=None):
    """Those of the tokens, whichever the model."""
    return model(tokens, segments, lengths, key)[0] if isinstance(model, BERT) else model(tokens, key)


def test_padding_changes_no_real_position():
    run = jax.jit(partial(BERT.__call__, drawn(BERT_SIZES)))
    words, follows = run(TOKENS, SEGMENTS, LENGTHS)
    longer = np.pad(TOKENS, ((0, 0), (0, 7)))
    longer[np.arange(20) >= np.asarray(LENGTHS)[:, None]] = 5  # other padding, and more of it
    padded_words, padded_follows = run(longer, np.pad(SEGMENTS, ((0, 0), (0, 7)), constant_values=1), LENGTHS)
    for row, length in enumerate(LENGTHS):
        np.testing.assert_allclose(padded_words[row, :length], words[row, :length], atol=2e-5)
    np.testing.assert_allclose(padded_follows, follows, atol=2e-5)


def test_padding_has_no_gradient():
    def largest(model):
        return model.features(TOKENS[1:2], SEGMENTS[1:2], LENGTHS[1:2])[0, :9].max()

    gradient = abs(jax.jit(jax.grad(largest))(drawn(BERT_SIZES)).positions[...]).max(-1)
    assert (gradient[:9] > 0).all() and (gradient[9:] == 0).all()


@BOTH
def test_a_row_does_not_see_its_neighbours(config):
    model = drawn(config)
    together = logits(model, TOKENS, SEGMENTS, LENGTHS)
    for row in range(3):
        alone = logits(model, TOKENS[row : row + 1], SEGMENTS[row : row + 1], LENGTHS[row : row + 1])
        np.testing.assert_allclose(together[row], alone[0], atol=3e-5)


@BOTH
def test_who_sees_whom(config):
    """A later token moves an earlier position's logits in BERT and never in GPT-1."""
    model = drawn(config)
    changed = TOKENS.at[:, 10].set(TOKENS[:, 10] % 60 + 1)
    moved = abs(logits(model, TOKENS, None, None) - logits(model, changed, None, None)).max((0, 2))
    assert (moved[10:] > 0).all()
    assert (moved[:10] > 0).all() if config.family == "bert" else (moved[:10] == 0).all()


def test_a_left_only_bert_sees_no_later_token():
    """No gradient reaches a later position from any state, through padding or not; earlier ones get some."""
    model = drawn(replace(BERT_SIZES, left_only=True))

    @jax.jit
    @jax.grad
    def gradients(model, place):
        return model.features(TOKENS[:1], SEGMENTS[:1], jnp.array([11]))[0, place].max()

    for place in (0, 6, 10):
        gradient = abs(gradients(model, place).positions[...]).max(-1)
        assert (gradient[: place + 1] > 0).all() and (gradient[place + 1 :] == 0).all()


def test_its_summary_is_of_the_last_position():
    """The first one sees itself alone. Padding changes nothing."""
    model = drawn(replace(BERT_SIZES, left_only=True))
    x_BLD = model.features(TOKENS, SEGMENTS, LENGTHS)
    summary = model.summary(x_BLD, LENGTHS)
    for row, length in enumerate(LENGTHS):
        expected = jnp.tanh(model.pooler(x_BLD[row, length - 1]))
        np.testing.assert_allclose(summary[row], expected, atol=1e-6)
    both = drawn(BERT_SIZES)
    x_BLD = both.features(TOKENS, SEGMENTS, LENGTHS)
    np.testing.assert_array_equal(both.summary(x_BLD, LENGTHS), both.pooled(x_BLD))


def test_segments_and_unpadded_rows():
    model = drawn(BERT_SIZES)
    zeros, full = jnp.zeros_like(TOKENS), jnp.full(3, 13)
    np.testing.assert_allclose(model.features(TOKENS), model.features(TOKENS, zeros, full), rtol=0, atol=1e-5)
    assert abs(model.features(TOKENS) - model.features(TOKENS, SEGMENTS)).max() > 0.1


@BOTH
@pytest.mark.parametrize(
    "changes",
    mostly_slow(
        [{"remat": "block"}, {"unroll": 3}, {"remat": "dots"}, {"remat": "block", "unroll": 3}], fast=0
    ),
)
def test_how_it_is_compiled_changes_nothing(config, changes):
    @jax.jit
    def loss_and_gradient(model):
        def loss(model):
            return jax.nn.logsumexp(logits(model, TOKENS, SEGMENTS, LENGTHS, KEY))

        return jax.value_and_grad(loss)(model)

    config = replace(config, dropout=0.1)
    expected = jax.tree.leaves(loss_and_gradient(drawn(config)))
    for a, b in zip(
        jax.tree.leaves(loss_and_gradient(drawn(replace(config, **changes)))), expected, strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-5 * float(abs(b).max()))


@pytest.mark.slow
def test_initial_losses_are_those_of_guessing():
    V, B, L = 5_000, 8, 64
    tokens = jax.random.randint(KEY, (B, L), 0, V)
    for family in ("bert", "gpt1"):
        config = Model(
            family=family,
            vocabulary=V,
            context=L,
            width=128,
            depth=4,
            heads=4,
            norm="post",
            norm_epsilon=1e-12,
        )
        model = jax.jit(partial(build, config))(key=KEY)
        if family == "gpt1":
            batch = {"tokens": tokens, "targets": tokens[::-1], "weights": jnp.full((B, L), 1 / (B * L))}
            words = jax.jit(next_token.loss)(model, batch)["loss"]
        else:
            batch = {
                "tokens": tokens,
                "segments": jnp.zeros_like(tokens),
                "lengths": jnp.full(B, L),
                "positions": jnp.tile(jnp.arange(9), (B, 1)),
                "targets": tokens[::-1, :9],
                "weights": jnp.full((B, 9), 1 / (9 * B)),
                "next_targets": jnp.arange(B) % 2,
                "next_weights": jnp.full(B, 1 / B),
            }
            sums = jax.jit(masked_token.loss)(model, batch)
            words = sums["masked_loss"]
            assert abs(float(sums["next_loss"]) / math.log(2) - 1) < 0.02
        assert abs(float(words) / math.log(V) - 1) < 0.02


@pytest.mark.slow
@BOTH
def test_initial_deviations(config):
    """BERT's normal is cut at two deviations and not widened; GPT-1's is whole and everywhere the same."""
    model = jax.jit(partial(build, replace(config, width=192, vocabulary=500)))(key=KEY)
    leaves = {path_name(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(model)}
    spread = 0.02 * 0.87962566 if config.family == "bert" else 0.02
    for path, leaf in leaves.items():
        if path.endswith("bias"):
            assert (leaf == 0).all(), path
        elif path.endswith("scale"):
            assert (leaf == 1).all(), path
        else:
            assert abs(leaf.std() / spread - 1) < 4 / math.sqrt(leaf.size), path
            assert (abs(leaf).max() <= 0.04) == (config.family == "bert") or leaf.size < 1_000, path


@BOTH
def test_dropout_falls_where_and_as_declared(config, monkeypatch):
    """On the embeddings and, in each block, on the attention's probabilities and both branches."""
    masks = []
    bernoulli = jax.random.bernoulli
    monkeypatch.setattr(jax.random, "bernoulli", lambda k, p, s: masks.append((p, s)) or bernoulli(k, p, s))
    model = drawn(replace(config, dropout=0.25))
    jax.eval_shape(lambda: logits(model, TOKENS, SEGMENTS, LENGTHS, KEY))
    B, L, D, H = 3, 13, 24, 4
    assert masks == [(0.75, (B, L, D)), (0.75, (B, H, L, L)), (0.75, (B, L, D)), (0.75, (B, L, D))]
    masks.clear()
    jax.eval_shape(lambda: logits(model, TOKENS, SEGMENTS, LENGTHS))
    assert masks == []


def test_states_end_in_the_features():
    model = drawn(BERT_SIZES)
    states = jax.jit(BERT.states)(model, TOKENS, SEGMENTS, LENGTHS)
    assert len(states) == BERT_SIZES.depth + 1
    features = jax.jit(BERT.features)(model, TOKENS, SEGMENTS, LENGTHS)
    np.testing.assert_allclose(states[-1], features, atol=1e-6)
