"""Losses with a teacher: equal to PyTorch's, zero for equal models, without a gradient of the teacher."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.config import Model, Objective
from research.models.parameters import by_path
from research.objectives import evaluation_loss, training_loss, vocabulary_loss
from tests.drawn import drawn
from tests.mostly_slow import mostly_slow

B, L, V = 3, 6, 37
STUDENT = Model(family="gpt2", vocabulary=V, context=L, width=12, depth=1, heads=2)
BERT = replace(STUDENT, family="bert", norm="post")
RNG = np.random.default_rng(0)
WEIGHTS = np.float32(RNG.random((B, L)))
SEGMENTS, LENGTHS = np.zeros((B, L), np.int32), np.array([L, L - 1, L], np.int32)
TOKENS = RNG.integers(V, size=(B, L), dtype=np.int32)
PAIRS = {"next_targets": np.array([0, 1, 1], np.int32), "next_weights": np.full(B, 1 / B, np.float32)}
KINDS = {
    "next_token": (STUDENT, {"tokens": TOKENS, "targets": TOKENS[:, ::-1].copy(), "weights": WEIGHTS}),
    "masked_token": (
        BERT,
        {"tokens": TOKENS, "segments": SEGMENTS, "lengths": LENGTHS, "weights": WEIGHTS[:, :2]}
        | {"positions": np.array([[0, 3]] * B, np.int32), "targets": TOKENS[:, :2].copy()}
        | PAIRS,
    ),
    "classification": (
        replace(BERT, head="sequence", outputs=4),
        {"tokens": TOKENS[:, None], "segments": SEGMENTS[:, None], "lengths": LENGTHS[:, None]}
        | {"labels": np.array([0, 3, 1], np.int32), "label_weights": WEIGHTS[:, 0]},
    ),
}
SETTINGS = {"teacher": "…", "soft": 0.3, "temperature": 3.0}


def batch_of(kind: str, teacher=None) -> dict:
    batch = {name: jnp.asarray(array) for name, array in KINDS[kind][1].items()}
    return batch | ({} if teacher is None else {"teacher": teacher})


def scores(kind: str, model):
    """For PyTorch: the model's logits at the targets, the weights of these, and the final states there."""
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    batch = batch_of(kind)
    if kind == "next_token":
        states = model.features(batch["tokens"])
        logits, weights = model.logits(states), batch["weights"]
    elif kind == "masked_token":
        states = model.features(batch["tokens"], batch["segments"], batch["lengths"])
        logits, _ = model(batch["tokens"], batch["segments"], batch["lengths"])
        at = batch["positions"][..., None]
        states, logits = (jnp.take_along_axis(x, at, 1) for x in (states, logits))
        weights = batch["weights"]
    else:
        inputs = (batch[name][:, 0] for name in ("tokens", "segments", "lengths"))
        states = model.features(*inputs)
        logits, weights = model.task_head(model.pooled(states)), batch["label_weights"]
    return (*(torch.tensor(np.asarray(x)) for x in (logits, weights, states)),)


@pytest.mark.parametrize("kind", mostly_slow(KINDS))
@pytest.mark.parametrize("at_once", [1, 2**25])
def test_the_loss_is_pytorchs(kind, at_once, monkeypatch):
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    monkeypatch.setattr(vocabulary_loss, "LOGITS_AT_ONCE", at_once)  # or a few tokens at a time
    config, hidden = KINDS[kind][0], 0.0 if kind == "classification" else 0.7
    student, teacher = drawn(config), drawn(replace(config, depth=2), seed=2)
    settings = Objective(name=kind, hidden=hidden, **SETTINGS)
    sums = training_loss(settings)(student, batch_of(kind, teacher))
    plain = training_loss(Objective(name=kind))(student, batch_of(kind))
    (ours, weights, states), (theirs, _, other) = scores(kind, student), scores(kind, teacher)
    T, log = 3.0, torch.nn.functional.log_softmax
    each = torch.nn.functional.kl_div(
        log(ours / T, -1), log(theirs / T, -1), reduction="none", log_target=True
    )
    soft = T**2 * (each.sum(-1) * weights).sum()
    np.testing.assert_allclose(sums["soft_loss"], soft, rtol=2e-5)
    hard = plain["masked_loss" if kind == "masked_token" else "loss"]
    np.testing.assert_allclose(sums["hard_loss"], hard, rtol=1e-6)
    expected = 0.7 * float(hard) + 0.3 * float(soft)
    if hidden:
        cosine = torch.nn.functional.cosine_similarity(states, other, dim=-1)
        expected += hidden * float(((1 - cosine) * weights).sum())
    if kind == "masked_token":
        expected += float(plain["next_loss"])
    np.testing.assert_allclose(sums["loss"], expected, rtol=2e-5)


@pytest.mark.parametrize("kind", mostly_slow(KINDS))
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(kind):
    model = drawn(KINDS[kind][0])
    alone = {"soft": 1.0} | ({"next": 0.0} if kind == "masked_token" else {})
    loss = training_loss(Objective(name=kind, **SETTINGS | alone))
    value, gradient = jax.value_and_grad(lambda model, batch: loss(model, batch)["loss"])(
        model, batch_of(kind, model)
    )
    assert abs(float(value)) < 1e-6
    assert all(abs(leaf).max() < 1e-5 for leaf in jax.tree.leaves(gradient))
    other = drawn(KINDS[kind][0], seed=2)
    gradient = jax.grad(lambda model: loss(model, batch_of(kind, other))["loss"])(model)
    assert max(abs(leaf).max() for leaf in jax.tree.leaves(gradient)) > 1e-3


@pytest.mark.parametrize("kind", mostly_slow(KINDS))
def test_the_gradient_is_that_of_finite_differences(kind):
    model, teacher = drawn(KINDS[kind][0]), drawn(KINDS[kind][0], seed=2)
    hidden = 0.0 if kind == "classification" else 0.5
    loss = training_loss(Objective(name=kind, hidden=hidden, **SETTINGS))

    @jax.jit
    def value(model):
        return loss(model, batch_of(kind, teacher))["loss"]

    direction = drawn(KINDS[kind][0], seed=3)
    slope = sum(
        float((one * other).sum())
        for one, other in zip(*map(jax.tree.leaves, (jax.grad(value)(model), direction)), strict=True)
    )
    step = 1e-3
    moved = [jax.tree.map(lambda x, d, s=s: x + s * d, model, direction) for s in (step, -step)]
    np.testing.assert_allclose(slope, (value(moved[0]) - value(moved[1])) / (2 * step), rtol=2e-2)


def test_the_teacher_is_used_without_dropout_and_in_evaluations():
    config = replace(STUDENT, dropout=0.4)
    student, teacher = drawn(config), drawn(config, seed=2)
    settings = Objective(name="next_token", **SETTINGS | {"soft": 1.0})
    batch = batch_of("next_token", teacher)
    kept = [training_loss(settings)(student, batch, jax.random.key(seed))["soft_loss"] for seed in (0, 1)]
    assert abs(kept[0] - kept[1]) > 1e-3  # the student's
    sums = evaluation_loss(settings)(student, batch)
    np.testing.assert_allclose(sums["soft_loss"], training_loss(settings)(student, batch)["soft_loss"])
    equal = training_loss(settings)(teacher, batch_of("next_token", teacher))
    assert abs(float(equal["soft_loss"])) < 1e-6 and by_path(teacher)
