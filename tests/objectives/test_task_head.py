"""The losses of fine-tuning, against the published formulas written down again in NumPy."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
from research.config import Model, Objective
from research.models.parameters import by_path, components
from research.models.parts.table_dropout import drop_tables
from research.objectives import evaluation_loss, objective_of, training_loss
from tests.drawn import drawn
from tests.mostly_slow import mostly_slow

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

B, L, V = 3, 7, 11
START, DELIMITER, CLASSIFY = V, V + 1, V + 2
GPT = Model(
    family="gpt1",
    vocabulary=V,
    context=L,
    width=12,
    depth=2,
    heads=3,
    norm="post",
    head="sequence",
    outputs=4,
)
BERT = replace(GPT, family="bert", norm_epsilon=1e-12)


def batch(S: int, labels, rng=None) -> dict:
    """Sequences of uneven lengths that end in CLASSIFY; weights as the step divides them."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, L + 1, (B, S))
    tokens = rng.integers(0, V, (B, S, L))
    tokens[:, :, 0] = START
    np.put_along_axis(tokens, lengths[..., None] - 1, CLASSIFY, axis=2)
    real = np.arange(L) < lengths[..., None]
    auxiliary = (np.arange(L) < lengths[..., None] - 1) / (lengths[..., None] - 1)
    return {
        "tokens": jnp.asarray(np.where(real, tokens, 0), jnp.int32),
        "lengths": jnp.asarray(lengths, jnp.int32),
        "labels": jnp.asarray(labels),
        "label_weights": jnp.full(B, 1 / B),
        "auxiliary_weights": jnp.asarray(auxiliary / auxiliary.sum(), jnp.float32),
    }


def evaluate(model, inputs, key, name: str, auxiliary: float, **settings):
    """Sums and outputs."""
    settings = Objective(name=name, auxiliary=auxiliary, **settings)
    return objective_of(settings).evaluate(model, inputs, key, settings)


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def states(model, tokens) -> np.ndarray:
    """(B, S, L, D) by the model's own blocks, which other tests hold to Transformers."""
    flat = tokens.reshape(-1, L)
    return np.asarray(model.features(flat), np.float64).reshape(*tokens.shape, -1)


def transcribed(model, inputs, kind, released: bool = False) -> tuple[float, float]:
    """L2 and L1 of Radford et al. (2018), equations 1, 4 and 5, example by example.

    Or `released`, as in finetune-transformer-lm, train.py: model. Its one table has tokens, special tokens
    and positions, and all its rows are in the softmax; clf has a bias.
    """
    x = states(model, inputs["tokens"])
    head = np.asarray(model.task_head.kernel[...], np.float64)
    bias = np.asarray(model.task_head.bias[...], np.float64) if released else 0.0
    rows = [model.tokens, model.special_embeddings, *([model.positions] if released else [])]
    table = np.concatenate([np.asarray(part[...], np.float64) for part in rows])
    tokens, task, lm = np.asarray(inputs["tokens"]), [], []
    for b in range(B):
        ends = []
        for s in range(tokens.shape[1]):
            sequence = tokens[b, s].tolist()
            end = sequence.index(CLASSIFY)
            ends.append(x[b, s, end])
            given = log_softmax(x[b, s] @ table.T)
            lm.append(-np.mean([given[place, sequence[place + 1]] for place in range(end)]))
        label = inputs["labels"][b]
        if kind == "choice":
            task.append(-log_softmax((np.stack(ends) @ head + bias)[:, 0])[label])
        elif kind == "regression":
            task.append(((sum(ends) @ head + bias)[0] - float(label)) ** 2)
        elif kind == "soft_scores":
            task.append(-(soft_label(float(label)) * log_softmax(sum(ends) @ head + bias)).sum())
        else:
            task.append(-log_softmax(sum(ends) @ head + bias)[label])
    return float(np.mean(task)), float(np.mean(lm))


@pytest.mark.parametrize(
    "kind, S, outputs",
    mostly_slow(
        [("classification", 2, 4), ("choice", 4, 1), ("classification", 1, 4), ("regression", 2, 1)], 2
    ),
)
@pytest.mark.parametrize("auxiliary", mostly_slow([0.5, 0.0]))
def test_gpt1s_losses_are_the_papers(kind, S, outputs, auxiliary):
    labels = np.array([2.5, 0.0, 4.0], np.float32) if kind == "regression" else np.array([1, 3, 0], np.int32)
    inputs, model = batch(S, labels), drawn(replace(GPT, outputs=outputs))
    sums, found = evaluate(model, inputs, None, kind, auxiliary)
    task, lm = transcribed(model, inputs, kind)
    np.testing.assert_allclose(sums["loss"], task + auxiliary * lm, rtol=2e-5)
    assert found.shape[0] == B and found.dtype == jnp.float32
    if auxiliary:
        np.testing.assert_allclose([sums["task_loss"], sums["auxiliary_loss"]], [task, lm], rtol=2e-5)
    else:
        assert "auxiliary_loss" not in sums


def soft_label(score: float, classes: int = 4) -> np.ndarray:
    """Tai et al. (2015), section 4.2: the two whole numbers around a score share it by their nearness."""
    below = math.floor(score)
    label = np.zeros(classes)
    label[below] = below - score + 1
    if score > below:
        label[below + 1] = score - below
    return label


@pytest.mark.parametrize("kind", ["choice", *mostly_slow(["classification", "soft_scores"], 0)])
def test_gpt1s_losses_are_the_released_codes(kind):
    labels = [1, 3, 0] if kind != "soft_scores" else np.array([2.25, 0.0, 3.0], np.float32)
    S, outputs = (4, 1) if kind == "choice" else (2, 4)
    inputs, model = batch(S, labels), drawn(replace(GPT, outputs=outputs, head_bias=True, table_dropout=True))
    sums, _ = evaluate(model, inputs, None, kind, 0.5, auxiliary_positions=True)
    found = [sums["task_loss"], sums["auxiliary_loss"]]
    np.testing.assert_allclose(found, transcribed(model, inputs, kind, released=True), rtol=2e-5)
    paper, _ = evaluate(model, inputs, None, kind, 0.5)
    assert paper["auxiliary_loss"] < sums["auxiliary_loss"] - 1e-3


def test_the_table_is_dropped_out_once_for_inputs_and_outputs():
    """finetune-transformer-lm, train.py: model: one mask of all its rows, and no other of the inputs."""
    model, inputs = drawn(replace(GPT, table_dropout=True)), batch(1, np.array([1, 3, 0], np.int32))
    model.config = replace(model.config, dropout=0.5)  # the blocks keep their own, of 0
    key = jax.random.key(3)
    dropped = drop_tables(model, key)
    before, after = by_path(model), by_path(dropped)
    tables = {"tokens", "special_embeddings", "positions"}
    assert {path for path in before if not np.array_equal(before[path], after[path])} == tables
    factors = np.concatenate([np.ravel(after[path] / before[path]) for path in tables])
    assert set(factors.tolist()) == {0.0, 2.0} and abs(factors.mean() - 1) < 0.2
    released = {"auxiliary": 0.5, "auxiliary_positions": True}
    sums, _ = evaluate(model, inputs, key, "classification", **released)
    expected, _ = evaluate(dropped, inputs, None, "classification", **released)
    np.testing.assert_allclose(sums["auxiliary_loss"], expected["auxiliary_loss"], rtol=1e-6)
    other, _ = evaluate(model, inputs, jax.random.key(4), "classification", **released)
    assert abs(other["auxiliary_loss"] - sums["auxiliary_loss"]) > 1e-3
    assert drop_tables(model, None) is model
    model.config = replace(model.config, table_dropout=False)
    assert drop_tables(model, key) is model


@pytest.mark.slow
def test_lambda_zero_is_no_auxiliary_loss():
    """Same loss and gradients as where the batch has no weights for it at all; and another λ has others."""
    inputs, model = batch(1, np.array([1, 3, 0], np.int32)), drawn(GPT)
    without = {name: array for name, array in inputs.items() if name != "auxiliary_weights"}

    def graded(inputs, auxiliary):
        def loss(model):
            return evaluate(model, inputs, None, "classification", auxiliary)[0]["loss"]

        return jax.value_and_grad(loss)(model)

    zero, none, half = graded(inputs, 0.0), graded(without, 0.0), graded(inputs, 0.5)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (zero, none)), strict=True))
    assert half[0] > zero[0] + 0.1


def test_the_choices_of_an_example_lose_the_same_features():
    """finetune-transformer-lm: one mask for all of them. Equal choices so stay equal under dropout."""
    inputs = batch(2, np.array([1, 0, 0], np.int32))
    inputs |= {name: jnp.repeat(inputs[name][:, :1], 2, axis=1) for name in ("tokens", "lengths")}
    model = drawn(replace(GPT, outputs=1, dropout=0.3))
    model.config = replace(model.config, dropout=0.3)
    summaries = model.summary(model.features(inputs["tokens"].reshape(-1, L)), inputs["lengths"].reshape(-1))
    model.features = lambda tokens, key: states_of  # the blocks' own dropout would part them
    states_of = jnp.repeat(summaries[:, None], L, axis=1)
    _, logits = evaluate(model, inputs, jax.random.key(1), "choice", 0.0)
    _, plain = evaluate(model, inputs, None, "choice", 0.0)
    assert np.array_equal(logits[:, 0], logits[:, 1]) and not np.allclose(logits, plain)


def test_what_the_task_adds_is_w_y_and_three_embeddings():
    """Radford et al. (2018), section 3.2: nothing else is new; in the released code W_y has a bias."""
    for name in (n for n in experiments.names() if n.startswith("gpt1_") and experiments.get(n).task.fields):
        tuned = experiments.get(name).model
        before = replace(tuned, head="pretraining", outputs=0)
        count, plain = ({c.name: c.count for c in components(model)} for model in (tuned, before))
        new = {"special_embeddings": 3 * tuned.width, "task_head/kernel": tuned.width * tuned.outputs}
        new |= {"task_head/bias": tuned.outputs} if tuned.head_bias else {}
        assert count == plain | new, name


def test_berts_task_head_takes_the_place_of_the_two_it_was_trained_with():
    model = experiments.get("bert_mnli").model
    assert sum(c.count for c in components(model)) == 108_891_648 + 590_592 + 3 * 768 + 3
    model = experiments.get("bert_squad").model
    assert sum(c.count for c in components(model)) == 108_891_648 + 2 * 768 + 2


def test_spans_are_half_of_both_cross_entropies_and_tags_a_mean_over_words():
    model, rng = drawn(replace(BERT, head="tokens", outputs=2)), np.random.default_rng(1)
    inputs = {
        "tokens": jnp.asarray(rng.integers(0, V, (B, 1, L)), jnp.int32),
        "segments": jnp.zeros((B, 1, L), jnp.int32),
        "lengths": jnp.asarray([[L], [4], [5]], jnp.int32),
        "labels": jnp.asarray([[1, 3], [0, 0], [2, 2]], jnp.int32),
        "label_weights": jnp.full(B, 1 / B),
    }
    sums, outputs = evaluate(model, inputs, None, "spans", 0.0)
    given = log_softmax(np.asarray(outputs, np.float64).swapaxes(1, 2))
    labels = np.asarray(inputs["labels"])
    expected = -np.mean([(given[b, 0, labels[b, 0]] + given[b, 1, labels[b, 1]]) / 2 for b in range(B)])
    np.testing.assert_allclose(sums["loss"], expected, rtol=1e-5)

    tagger = drawn(replace(BERT, head="tokens", outputs=3))
    asked = np.array([[0, 1, 1, 0, 1, 1, 0], [0, 1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0, 0]], np.float32)
    tags = rng.integers(0, 3, (B, L)).astype(np.int32)
    inputs |= {"labels": jnp.asarray(tags), "label_weights": jnp.asarray(asked / asked.sum())}
    sums, outputs = evaluate(tagger, inputs, None, "tags", 0.0)
    given = log_softmax(np.asarray(outputs, np.float64))
    words = [(b, place) for b, place in np.argwhere(asked)]
    np.testing.assert_allclose(sums["loss"], -np.mean([given[b, p, tags[b, p]] for b, p in words]), rtol=1e-5)
    hits = np.mean([given[b, p].argmax() == tags[b, p] for b, p in words])
    np.testing.assert_allclose(sums["accuracy"], hits, rtol=1e-5)


def test_evaluation_tells_the_outputs_of_every_row_and_training_does_not():
    declared = Objective(name="classification", auxiliary=0.5)
    inputs, model = batch(1, np.array([1, 3, 0], np.int32)), drawn(GPT)
    sums = evaluation_loss(declared)(model, inputs)
    assert sums["outputs"].shape == (B, 4)
    trained = training_loss(declared)(model, inputs, None)
    assert trained.keys() == sums.keys() - {"outputs"}
