"""A loop of one's own has the bits of `train`, and its parts are those of the step."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import research
from research.errors import UsageError
from research.models.parameters import by_path
from tests.mostly_slow import mostly_slow
from tests.training.tiny import final_arrays, quickstart

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 12 steps with dropout, with checkpoints at 8 and 12."""
    folder = tmp_path_factory.mktemp("own_loop")
    experiment = quickstart(folder / "text.txt", run__sample=0)
    research.train(experiment, folder / "run", silent)
    return experiment, folder / "run"


def steps(experiment, state, start, **options):
    """The losses and norms of the steps after `start`, and the last state."""
    batch, step, rows = research.batches(experiment), research.compile_step(experiment, **options), []
    for n in range(start, experiment.run.steps):
        state, metrics = step(state, batch[n])
        rows.append({name: float(value) for name, value in metrics.items()})
    return rows, state


def arrays(state):
    state = state.replace(key=jax.random.key_data(state.key))
    return {name: np.asarray(leaf) for name, leaf in by_path(state).items()}


@pytest.mark.parametrize(
    "changes",
    mostly_slow(
        [
            {},
            {"parallel__compile": "sharded", "parallel__fsdp": 2},
            {"parallel__compile": "pmap"},
            {"run__hyperparameters": "inputs"},
        ]
    ),
)
def test_it_makes_the_bits_of_train(tmp_path, changes):
    experiment = quickstart(tmp_path / "text.txt", run__sample=0, **changes)
    research.train(experiment, tmp_path / "run", silent)
    rows, state = steps(experiment, research.first_state(experiment), 0)
    logged = research.read_metrics(tmp_path / "run")["train"]
    for name in rows[0]:
        assert [row[name] for row in rows] == logged[name].tolist()
    if not changes:
        expected = final_arrays(experiment, tmp_path / "run")
        for name, array in arrays(state).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_it_goes_on_from_a_checkpoint(trained):
    experiment, run = trained
    state = research.first_state(experiment, f"{run}:8")
    assert int(state.step) == 8
    rows, last = steps(experiment, state, 8, donate=True)
    assert [row["loss"] for row in rows] == research.read_metrics(run)["train"]["loss"][8:].tolist()
    newest = research.first_state(experiment, run)
    for name, array in arrays(last).items():
        np.testing.assert_array_equal(array, arrays(newest)[name], err_msg=name)


def test_a_state_is_overwritten_only_if_asked(trained):
    experiment, run = trained
    batch, state = research.batches(experiment), research.first_state(experiment, run)
    step = research.compile_step(experiment)
    one, other = step(state, batch[3])[1], step(state, batch[3])[1]  # as when a cell runs twice
    assert float(one["loss"]) == float(other["loss"])
    assert not any(x.is_deleted() for x in jax.tree.leaves(state))
    research.compile_step(experiment, donate=True)(state, batch[3])
    assert any(x.is_deleted() for x in jax.tree.leaves(state))


def test_the_loss_is_that_of_the_step(tmp_path):
    experiment = quickstart(tmp_path / "text.txt", model__dropout=0.0)
    state, batch = research.first_state(experiment), research.batches(experiment)[0]
    batch = batch | {"weights": batch["weights"] * (np.arange(batch["weights"].shape[1]) < 5)}
    metrics = research.compile_step(experiment)(state, batch)[1]
    loss = research.loss_function(experiment)
    (value, sums), grads = jax.value_and_grad(loss, has_aux=True)(state.model, batch)
    assert float(value) == float(sums["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-6)
    assert float(optax.tree.norm(grads)) == pytest.approx(float(metrics["gradient_norm"]), rel=1e-5)
    heavier = batch | {"weights": 3 * batch["weights"]}
    assert float(loss(state.model, heavier)[0]) == pytest.approx(float(value), rel=1e-6)


def test_weights_may_be_changed_between_steps(trained):
    experiment, _ = trained
    state, batch = research.first_state(experiment), research.batches(experiment)
    step = research.compile_step(experiment)
    zeros = state.replace(model=jax.tree.map(jnp.zeros_like, state.model))
    zeros, metrics = step(zeros, batch[0])
    assert float(metrics["loss"]) == pytest.approx(np.log(experiment.model.vocabulary), rel=1e-5)
    assert int(zeros.step) == 1


def test_an_evaluation_is_the_row_of_train(trained):
    experiment, run = trained
    row = research.compile_evaluation(experiment)(research.first_state(experiment, run))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert row == lines[-1]


def test_the_model_of_a_state_is_saved_and_loaded(trained, tmp_path):
    experiment, run = trained
    model = research.language_model(experiment, research.first_state(experiment, run))
    text = "7 green bottles"
    np.testing.assert_array_equal(model.logits(text), research.load(run).logits(text))
    model.save(tmp_path / "saved")
    saved = research.load(tmp_path / "saved")
    np.testing.assert_allclose(saved.logits(text), model.logits(text), atol=1e-5)
    assert saved.generate(text, tokens=4, temperature=0) == model.generate(text, tokens=4, temperature=0)
    with pytest.raises(UsageError, match="saved: exists"):
        model.save(tmp_path / "saved")


def test_faults_are_named(trained):
    experiment, run = trained
    with pytest.raises(UsageError, match="no such checkpoint; there are 8, 12"):
        research.first_state(experiment, f"{run}:7")
    wider = research.resolve("gpt2_tiny")
    with pytest.raises(UsageError):
        research.first_state(wider, run)
    for part in (research.batches, research.first_state, research.compile_step, research.loss_function):
        with pytest.raises(UsageError, match="'gpt2_tiny': expected an Experiment, such as resolve"):
            part("gpt2_tiny")
    with pytest.raises(UsageError, match="Run: expected an Experiment"):
        research.train(experiment.run, run, silent)
