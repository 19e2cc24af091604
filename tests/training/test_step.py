"""One step, three compilers, the same numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research import parallel
from research.errors import UsageError
from research.objectives import OBJECTIVES
from research.optimizers import optimizer
from research.training.checkpoint import by_path
from research.training.state import initial_state
from research.training.step import normalized, train_step
from tests.training.tiny import quickstart


@pytest.fixture
def experiment(tmp_path):
    return quickstart(tmp_path / "corpus.txt", model__dropout=0.0, optimizer__rate__peak=1e-2)


def lopsided(step: int) -> dict[str, np.ndarray]:
    """A batch whose first rows have all the targets: devices are dealt 32, 32, …, 1, 0."""
    random = np.random.default_rng(step)
    tokens = random.integers(0, 300, (8, 33)).astype(np.int32)
    weights = np.zeros((8, 32), np.float32)
    weights[:3], weights[3, 5] = 1, 1
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights}


def ten_steps(experiment, compiler):
    objective = OBJECTIVES["next_token"]
    update = optimizer(experiment.optimizer, experiment.run.steps)
    step = partial(train_step, objective=objective, optimizer=update)
    compiled = parallel.COMPILERS[compiler](step, objective)
    make = partial(initial_state, experiment)
    state = jax.jit(make, out_shardings=compiled.layout(jax.eval_shape(make)))()
    losses = []
    for index in range(10):
        state, sums = compiled.step(state, compiled.feed(lopsided(index)))
        losses.append(float(sums["loss"]))
    return losses, jax.device_get(state.model)


def test_compilers_agree_on_lopsided_batches(experiment):
    losses, model = ten_steps(experiment, "jit")
    assert len(jax.devices()) == 8
    for compiler in ("sharded", "pmap"):
        theirs, their_model = ten_steps(experiment, compiler)
        np.testing.assert_allclose(theirs, losses, rtol=1e-5)
        for name, expected in by_path(model).items():
            theirs = by_path(their_model)[name]
            if name.endswith("qkv/bias"):
                # Softmax does not see the keys' bias: its gradient is rounding, which Adam blows up.
                theirs, expected = theirs[:, ::2], expected[:, ::2]
            assert np.linalg.norm(theirs - expected) <= 1e-4 * np.linalg.norm(expected), name


def test_the_loss_is_the_mean_over_targets(experiment):
    """By hand, from the logits; and its gradient moves the parameters as Optax says."""
    state = initial_state(experiment)
    batch = lopsided(0)
    update = optax.sgd(1.0)
    state = state.replace(moments=update.init(state.model))

    def mean(model):
        losses = optax.softmax_cross_entropy_with_integer_labels(model(batch["tokens"]), batch["targets"])
        return losses[batch["weights"] > 0].mean()

    expected, grads = jax.value_and_grad(mean)(state.model)
    after, sums = train_step(state, batch, objective=OBJECTIVES["next_token"], optimizer=update)
    np.testing.assert_allclose(sums["loss"], expected, rtol=1e-6)
    np.testing.assert_allclose(sums["gradient_norm"], optax.tree.norm(grads), rtol=1e-5)
    for a, b, g in zip(*map(jax.tree.leaves, (after.model, state.model, grads)), strict=True):
        np.testing.assert_allclose(b - a, g, atol=1e-5)
    assert int(after.step) == 1


def test_dropout_follows_seed_and_step_alone(tmp_path):
    experiment = quickstart(tmp_path / "corpus.txt", model__dropout=0.3)
    objective, update = OBJECTIVES["next_token"], optax.sgd(0.0)
    state = initial_state(experiment)
    state = state.replace(moments=update.init(state.model))
    step = jax.jit(partial(train_step, objective=objective, optimizer=update))
    losses = {n: float(step(state.replace(step=jnp.int32(n)), lopsided(0))[1]["loss"]) for n in (0, 1, 5)}
    assert len(set(losses.values())) == 3
    assert losses[5] == float(step(state.replace(step=jnp.int32(5)), lopsided(0))[1]["loss"])


def test_weights_are_shares_of_the_whole():
    batch = normalized(
        {"tokens": jnp.ones(3), "weights": jnp.ones((2, 5)), "next_weights": jnp.ones(4)}, None
    )
    assert float(batch["weights"].sum()) == pytest.approx(1) == float(batch["next_weights"].sum())
    assert (batch["tokens"] == 1).all()
    assert float(normalized({"weights": jnp.zeros(3)}, None)["weights"].sum()) == 0


def test_a_batch_that_cannot_be_dealt_is_refused(experiment):
    compiled = parallel.sharded(lambda s, b: (s, b), lambda m, b: b)
    with pytest.raises(UsageError, match=r"data\.batch=6: expected a multiple of the 8 devices"):
        compiled.feed({"tokens": np.zeros((6, 4))})
