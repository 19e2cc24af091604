"""One step: what it adds up, what it leaves out, what it remembers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import UsageError
from research.objectives import next_token
from research.optimizers.spike_guard import WINDOW, fresh, should_apply
from research.runs.state import evaluation_params, initial_state
from research.training.placement import compile_for
from research.training.step import if_sound, normalized, step_of, train_step
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


DETERMINISTIC = {"model__dropout": 0.0, "model__heads": 8, "optimizer__rate__peak": 1e-3}


def test_the_loss_is_the_mean_over_targets(experiment):
    """By hand, from the logits; and its gradient moves the parameters as Optax says."""
    state = initial_state(experiment)
    batch = lopsided(0)
    update = optax.with_extra_args_support(optax.sgd(1.0))
    state = state.replace(opt_state=update.init(state.model))

    def mean(model):
        losses = optax.softmax_cross_entropy_with_integer_labels(model(batch["tokens"]), batch["targets"])
        return losses[batch["weights"] > 0].mean()

    expected, grads = jax.value_and_grad(mean)(state.model)
    after, sums = train_step(state, batch, loss=next_token.loss, optimizer=update)
    np.testing.assert_allclose(sums["loss"], expected, rtol=1e-6)
    np.testing.assert_allclose(sums["gradient_norm"], optax.tree.norm(grads), rtol=1e-5)
    for a, b, g in zip(*map(jax.tree.leaves, (after.model, state.model, grads)), strict=True):
        np.testing.assert_allclose(b - a, g, atol=1e-5)
    assert int(after.step) == 1


def test_dropout_follows_seed_and_step_alone(tmp_path):
    experiment = quickstart(tmp_path / "corpus.txt", model__dropout=0.3)
    update = optax.with_extra_args_support(optax.sgd(0.0))
    state = initial_state(experiment)
    state = state.replace(opt_state=update.init(state.model))
    step = jax.jit(partial(train_step, loss=next_token.loss, optimizer=update))
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


@pytest.mark.parametrize(
    "declared, message",
    [
        ({"batch": 12}, r"data\.batch=12: expected a multiple of 8"),
        ({"batch": 8, "accumulate": 2}, r"data\.batch=8: expected a multiple of 16"),
        ({"fsdp": 3}, r"parallel\.fsdp=3 × .*: expected a product of 8"),
        ({"data": 2, "fsdp": 2}, r"parallel\.data=2 × .*: expected a product of 8"),
    ],
)
def test_what_cannot_be_dealt_is_refused(tmp_path, declared, message):
    batch = declared.pop("batch", 8)
    declared = {f"parallel__{name}": value for name, value in declared.items()}
    experiment = quickstart(tmp_path / "c.txt", data__batch=batch, parallel__compile="sharded", **declared)
    with pytest.raises(UsageError, match=message):
        compile_for(experiment)[1].feed({"tokens": np.zeros((batch, 4))})


def guarded(experiment, batches):
    """The states after each batch, with an SGD that a spike would throw off."""
    step = jax.jit(step_of(experiment))
    states = [initial_state(experiment)]
    for batch in batches:
        states.append(step(states[-1], batch)[0])
    return states


def test_what_is_not_finite_is_skipped_and_remembered(experiment):
    broken = lopsided(1) | {"weights": np.full((8, 32), np.nan, np.float32)}
    _, one, two, three = guarded(experiment, [lopsided(0), broken, lopsided(2)])
    for before, after in zip(jax.tree.leaves(one.model), jax.tree.leaves(two.model), strict=True):
        assert (before == after).all()
    assert (int(two.guard.skipped), int(two.guard.broken), int(two.step)) == (1, 1, 2)
    assert (int(three.guard.skipped), int(three.guard.broken)) == (1, 1)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (two.model, three.model)), strict=True))


def test_a_spike_is_skipped_once_the_window_is_full():
    guard = fresh()
    for step in range(WINDOW):
        loss, norm = 2 + 0.1 * jnp.sin(step), 1 + 0.1 * jnp.cos(step)
        sound, guard = should_apply(guard, jnp.int32(step), loss, norm, 4.0)
        assert bool(sound)
    sound, after = should_apply(guard, jnp.int32(WINDOW), jnp.float32(9.0), jnp.float32(1.0), 4.0)
    assert not bool(sound) and int(after.skipped) == 1 and int(after.broken) == -1
    assert bool(should_apply(guard, jnp.int32(WINDOW), jnp.float32(2.1), jnp.float32(1.1), 4.0)[0])
    assert not bool(should_apply(guard, jnp.int32(WINDOW), jnp.float32(2.0), jnp.float32(5.0), 4.0)[0])
    assert bool(should_apply(guard, jnp.int32(WINDOW), jnp.float32(9.0), jnp.float32(1.0), 0.0)[0])


@pytest.mark.slow
def test_the_average_is_that_of_the_parameters(tmp_path):
    experiment = quickstart(tmp_path / "corpus.txt", optimizer__ema=0.75, **DETERMINISTIC)
    states = guarded(experiment, map(lopsided, range(3)))
    expected = np.asarray(states[0].model.tokens[...], np.float64)
    for state in states[1:]:
        expected = 0.75 * expected + 0.25 * np.asarray(state.model.tokens[...])
    np.testing.assert_allclose(states[-1].ema_params.tokens[...], expected, rtol=1e-5, atol=1e-7)
    assert evaluation_params(experiment, states[-1]) is states[-1].ema_params


def test_curvature_is_refused_under_pmap(tmp_path):
    for compile in ("pmap", "sharded"):
        experiment = quickstart(tmp_path / "corpus.txt", optimizer__name="sophia", parallel__compile=compile)
        if compile == "sharded":
            compile_for(experiment)
            continue
        with pytest.raises(UsageError, match=r"optimizer\.name=sophia: .* expected parallel.compile=sharded"):
            compile_for(experiment)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("sound", [True, False])
def test_an_update_is_made_whole_or_not_at_all(backend, sound, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    new, old = ({"kernel": jnp.full(3, value), "bias": jnp.full(2, value)} for value in (jnp.nan, 1.0))
    made = jax.jit(lambda sound: if_sound(sound, lambda: (new, new, None), (old, old, None)))(sound)
    for tree in made[:2]:
        assert all(np.isnan(leaf).all() == sound for leaf in jax.tree.leaves(tree))
    assert made[2] is None
