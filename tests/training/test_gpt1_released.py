"""Fine-tuning of GPT-1 against numbers of openai/finetune-transformer-lm itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import experiments
from research.config.settings import override
from research.objectives import training_loss
from research.optimizers.optimizer import optimizer
from tests.drawn import drawn

# [mean of clf_losses, of lm_losses] at each of four updates of train.py: mgpu_train, run beside ours in
# TensorFlow 1.15 with these weights and this batch, dropout 0, lr=1e-2, lr_warmup=0.2, n_updates_total=10.
LOSSES = [[0.6238511, 3.5552194], [0.6238511, 3.5552194], [0.3690676, 3.4629734], [0.2026576, 3.289438]]
SMALL = {
    "model.vocabulary": 11,
    "model.context": 8,
    "data.length": 8,
    "model.width": 12,
    "model.depth": 2,
    "model.heads": 3,
    "model.dropout": 0.0,
    "model.precision": "float32",
    "optimizer.rate.warmup": 2,
    "optimizer.rate.peak": 1e-2,
}


@pytest.mark.slow
def test_four_updates_are_those_of_the_released_code():
    declared = override(experiments.get("gpt1_storycloze"), SMALL)
    B, S, L, V = 4, 2, 8, 11
    rng = np.random.default_rng(0)
    lengths, tokens = rng.integers(4, L + 1, (B, S)), rng.integers(0, V, (B, S, L))
    tokens[:, :, 0] = V
    np.put_along_axis(tokens, lengths[..., None] - 1, V + 2, axis=2)
    targets = (np.arange(L) < lengths[..., None] - 1) / (lengths[..., None] - 1)
    batch = {
        "tokens": jnp.asarray(np.where(np.arange(L) < lengths[..., None], tokens, 0), jnp.int32),
        "lengths": jnp.asarray(lengths, jnp.int32),
        "labels": jnp.asarray(rng.integers(0, 2, B), jnp.int32),
        "label_weights": jnp.full(B, 1 / B),
        "auxiliary_weights": jnp.asarray(targets / targets.sum(), jnp.float32),
    }
    loss, update = training_loss(declared.objective), optimizer(declared.optimizer, 10)

    def total(model):
        sums = loss(model, batch, None)
        return sums["loss"], jnp.stack([sums["task_loss"], sums["auxiliary_loss"]])

    @jax.jit
    def step(model, state):
        (_, losses), gradients = jax.value_and_grad(total, has_aux=True)(model)
        updates, state = update.update(gradients, state, model)
        return optax.apply_updates(model, updates), state, losses

    model, found = drawn(declared.model), []
    state = update.init(model)
    for _ in LOSSES:
        model, state, losses = step(model, state)
        found.append(losses)
    np.testing.assert_allclose(found, LOSSES, rtol=3e-6)
