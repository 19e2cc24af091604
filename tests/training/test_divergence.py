"""Whole runs that meet garbage: one goes on as if it had not, one stops where it is asked to."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.config.names import OPTIMIZERS
from research.data import batches
from research.errors import Diverged
from research.optimizers.spike_guard import WINDOW
from research.training.logging.progress import Lines
from research.training.loop import train
from tests.mostly_slow import mostly_slow
from tests.training.tiny import quickstart, timeless

PLANTED = WINDOW + 7


def plant(monkeypatch, step: int, garbage) -> None:
    """The run's batch of `step` (from 0) becomes what `garbage` makes of it."""
    sound = batches.train_batches

    def planted(*arguments, **named):
        made = sound(*arguments, **named)
        return made.map_with_index(lambda index, batch: garbage(batch) if index == step else batch)

    monkeypatch.setattr(batches, "train_batches", planted)


def noise(batch):
    random = np.random.default_rng(0).integers(0, 300, batch["tokens"].shape, np.int32)
    return batch | {"tokens": random, "targets": np.flip(random)}


def nothing(batch):
    return batch | {"weights": batch["weights"] * np.float32("nan")}


def losses(directory):
    rows = [row for row in timeless(directory) if row["split"] == "train"]
    return np.array([row["loss"] for row in rows]), np.array([row["skipped"] for row in rows])


@pytest.mark.slow
def test_a_spike_is_skipped_and_the_run_recovers(tmp_path, monkeypatch, capsys):
    """At a rate so high that the update, once made, throws the run off."""
    changes = {
        "run__steps": PLANTED + 8,
        "run__evaluate_every": 0,
        "run__checkpoint_every": 0,
        "run__sample": 0,
        "model__dropout": 0.0,
    }
    rate = {
        "optimizer__name": "sgd",
        "optimizer__decay": 0.0,
        "optimizer__clip": None,
        "optimizer__rate__name": "constant",
        "optimizer__rate__peak": 0.2,
    }
    plant(monkeypatch, PLANTED, noise)
    found = {}
    for limit in (0.0, 6.0):
        experiment = quickstart(tmp_path / "corpus.txt", **changes, **rate, run__skip_spikes=limit)
        train(experiment, tmp_path / f"run-{limit}", print)
        found[limit], skipped = losses(tmp_path / f"run-{limit}")
        assert np.array_equal(skipped, np.where(np.arange(len(skipped)) >= PLANTED, 1, 0) * (limit > 0))
    before, after = slice(PLANTED - 8, PLANTED), slice(PLANTED + 1, None)
    assert (found[0.0][:PLANTED] == found[6.0][:PLANTED]).all() and found[6.0][PLANTED] > 5
    assert found[6.0][after].max() < found[6.0][before].mean() + 0.2
    assert found[0.0][after].min() > found[0.0][before].mean() + 1
    assert "1 updates skipped" in capsys.readouterr().out


@pytest.mark.parametrize("stops", [True, False])
def test_an_own_optimizers_update_that_is_not_finite_is_skipped(registries, tmp_path, stops):
    """Its gradient is finite: without a look at the update, its NaN would be in the parameters for good."""

    @OPTIMIZERS.register("brittle")
    def brittle(config, rate):
        def update(grads, count, params=None):
            updates = jax.tree.map(lambda g: jnp.where(count == 4, jnp.nan, -0.1 * g), grads)
            return updates, count + 1

        return optax.GradientTransformation(lambda params: jnp.int32(0), update)

    experiment = quickstart(
        tmp_path / "c.txt", optimizer__name="brittle", run__steps=8, run__stop_on_nan=stops, run__sample=0
    )
    if stops:
        with pytest.raises(Diverged, match=r"step 5: the optimizer's update is not finite, its gradient is"):
            train(experiment, tmp_path / "run", print)
        return
    train(experiment, tmp_path / "run", print)
    found, skipped = losses(tmp_path / "run")
    assert np.isfinite(found).all()
    assert skipped.tolist() == [0, 0, 0, 0, 1, 2, 3, 4]  # its state is kept too, so it gives NaN again
    validation = [row["loss"] for row in timeless(tmp_path / "run") if row["split"] == "validation"]
    assert np.isfinite(validation).all() and validation[-1] < validation[0]


def test_an_optimizer_may_ask_for_the_loss(registries, tmp_path):
    @OPTIMIZERS.register("plateau")
    def plateau(config, rate):
        return optax.chain(optax.adam(rate), optax.contrib.reduce_on_plateau(patience=1))

    experiment = quickstart(tmp_path / "c.txt", optimizer__name="plateau", run__steps=4, run__sample=0)
    train(experiment, tmp_path / "run", print)
    assert np.isfinite(losses(tmp_path / "run")[0]).all()


@pytest.mark.parametrize("stops", mostly_slow([True, False]))
def test_nan_stops_at_its_step_where_asked(tmp_path, monkeypatch, stops):
    rarely = {name: 1_000 for name in ("run__log_every", "run__evaluate_every", "run__checkpoint_every")}
    experiment = quickstart(tmp_path / "c.txt", **rarely, run__steps=20, run__stop_on_nan=stops)
    plant(monkeypatch, 7, nothing)
    reached = []
    monkeypatch.setattr(Lines, "advance", lambda lines, step: reached.append(step))
    if not stops:
        assert train(experiment, tmp_path / "run", print).step == 20
        assert losses(tmp_path / "run")[1][-1] == 1
        return
    message = re.escape(f"lineage batch {tmp_path / 'run'} --step 7")
    with pytest.raises(Diverged, match=f"step 8: .* not finite .*{message}"):
        train(experiment, tmp_path / "run", print)
    assert max(reached) <= 9  # its step is the 8th, and the 9th was on its way


@pytest.mark.parametrize("every", mostly_slow(["evaluate", "checkpoint"], 0))
def test_nothing_is_made_of_a_state_after_nan(tmp_path, monkeypatch, every):
    experiment = quickstart(
        tmp_path / "c.txt",
        **{"run__evaluate_every": 0, "run__checkpoint_every": 0} | {f"run__{every}_every": 3},
        run__stop_on_nan=True,
    )
    plant(monkeypatch, 2, nothing)
    with pytest.raises(Diverged, match="step 3"):
        train(experiment, tmp_path / "run", print)
    assert not any(row["step"] == 3 and row["split"] == "validation" for row in timeless(tmp_path / "run"))
    assert not (tmp_path / "run" / "checkpoints" / "3").exists()
