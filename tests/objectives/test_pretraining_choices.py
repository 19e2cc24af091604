"""BERT's pre-training without next sentences, and from left to right."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research import config, weights
from research.config import Model
from research.errors import UsageError
from research.models.parameters import by_path
from research.objectives import left_to_right, masked_token
from tests.drawn import drawn

GOLDEN = Path(__file__).parents[1] / "golden"
SIZES = Model(family="bert", vocabulary=41, context=12, width=16, depth=1, heads=2, norm="post")
B, L = 3, 12
RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(0, 41, (B, L)).astype(np.int32)
INPUTS = {
    "tokens": TOKENS,
    "segments": (np.arange(L) > 5).astype(np.int32)[None].repeat(B, 0),
    "lengths": np.array([12, 9, 7], np.int32),
}
MASKED = INPUTS | {
    "positions": np.array([[1, 4], [2, 3], [3, 5]], np.int32),
    "targets": RANDOM.integers(0, 41, (B, 2)).astype(np.int32),
    "weights": np.full((B, 2), 1 / 6, np.float32),
    "next_targets": np.array([0, 1, 1], np.int32),
    "next_weights": np.full(B, 1 / 3, np.float32),
}


def gradients(loss, model, batch, settings):
    def sums(model):
        found = loss(model, batch, None, settings)
        return found["loss"], found

    return jax.jit(jax.grad(sums, has_aux=True))(model)


@pytest.mark.slow
def test_the_next_sentence_counts_as_its_weight_says():
    """The loss and every gradient are linear in it; at 0 the pooler and its head do not move."""
    model = drawn(SIZES)
    found = {
        weight: gradients(masked_token.loss, model, MASKED, config.Objective(next=weight))
        for weight in (0.0, 0.5, 1.0)
    }
    for weight, (_, sums) in found.items():
        expected = sums["masked_loss"] + weight * sums["next_loss"]
        np.testing.assert_allclose(sums["loss"], expected, rtol=1e-6)
    without, half, whole = (by_path(gradient) for gradient, _ in found.values())
    for path, gradient in half.items():
        np.testing.assert_allclose(gradient, (without[path] + whole[path]) / 2, atol=1e-6, err_msg=path)
        silent = path.split("/")[0] in ("pooler", "next_sentence")
        assert (abs(without[path]).max() == 0) == silent, path


def test_its_weight_is_none_below_zero():
    with pytest.raises(UsageError, match=r"objective\.next=-1\.0: expected 0 or more"):
        config.Objective(next=-1.0)


def test_from_left_to_right_the_loss_is_of_each_next_token():
    """Equal to the cross-entropy of the model's own logits, summed token by token."""
    model = drawn(replace(SIZES, left_only=True))
    targets, real = np.roll(TOKENS, -1, 1), np.arange(L) < INPUTS["lengths"][:, None] - 1
    batch = INPUTS | {"targets": targets, "weights": (real / real.sum()).astype(np.float32)}
    sums = jax.jit(left_to_right.loss)(model, batch)
    log_p = np.asarray(jax.nn.log_softmax(model(*map(jnp.asarray, INPUTS.values()))[0]), np.float64)
    losses = [
        -log_p[row, n, TOKENS[row, n + 1]]
        for row, length in enumerate(INPUTS["lengths"])
        for n in range(length - 1)
    ]
    np.testing.assert_allclose(sums["loss"], np.mean(losses), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_from_left_to_right_it_is_transformers_decoder():
    """Logits and loss of BertLMHeadModel with is_decoder, whose weights ours reads as a BERT's."""
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    transformers = pytest.importorskip("transformers", reason="needs the extra parity")
    config = transformers.BertConfig.from_pretrained(GOLDEN / "bert_erf", is_decoder=True)
    theirs = transformers.BertLMHeadModel.from_pretrained(GOLDEN / "bert_erf", config=config).eval()
    found = weights.read(GOLDEN / "bert_erf")
    model, _ = weights.fill(drawn(replace(found.config, left_only=True)), found.arrays)
    real = np.arange(L) < INPUTS["lengths"][:, None]
    tokens, segments, mask = (
        torch.from_numpy(x.astype(np.int64)) for x in (TOKENS, INPUTS["segments"], real)
    )
    labels = torch.where(mask == 1, tokens, -100)
    with torch.no_grad():
        expected = theirs(tokens, attention_mask=mask, token_type_ids=segments, labels=labels)
    logits = np.asarray(model(*map(jnp.asarray, INPUTS.values()))[0])
    np.testing.assert_allclose(logits[real], expected.logits.numpy()[real], atol=2e-5)
    weighted = np.arange(L) < INPUTS["lengths"][:, None] - 1
    batch = INPUTS | {
        "targets": np.roll(TOKENS, -1, 1),
        "weights": (weighted / weighted.sum()).astype(np.float32),
    }
    np.testing.assert_allclose(left_to_right.loss(model, batch)["loss"], expected.loss.item(), rtol=1e-5)
