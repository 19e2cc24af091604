"""Weights of a run, weights as the start of an experiment, and the report of both."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import experiments
from research import weights
from research.config.settings import override
from research.errors import UsageError
from research.models.parameters import by_path
from research.runs import record
from research.runs.checkpoints.store import Checkpoints
from research.runs.state import evaluation_params, initial_state
from tests.drawn import drawn
from tests.weights.directory import GOLDEN

KEY = jax.random.key(0)
SMALL = {"model.width": 16, "model.depth": 2, "model.heads": 2, "model.vocabulary": 300}


def trained(directory, **changes):
    """Makes a run's directory with two checkpoints; the model that the newer evaluates."""
    experiment = override(experiments.get("quickstart"), SMALL | changes)
    record.claim(directory, experiment, {})
    with Checkpoints(directory / "checkpoints", 2) as checkpoints:
        for step in (9, 10):
            state = jax.eval_shape(partial(initial_state, experiment))
            ones = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), state.replace(key=None))
            state = ones.replace(step=jnp.int32(step), model=drawn(experiment.model, seed=step), key=KEY)
            if state.ema_params is not None:
                state = state.replace(ema_params=drawn(experiment.model, seed=100 + step))
            checkpoints.save(step, state)
    return evaluation_params(experiment, state)


@pytest.mark.parametrize("changes", [{}, {"optimizer.ema": 0.9}, {"optimizer.name": "schedule_free_adamw"}])
def test_a_run_and_its_export(changes, tmp_path):
    model = trained(tmp_path / "run", **changes)
    weights.export(tmp_path / "run", tmp_path / "out")
    for path in (tmp_path / "run", tmp_path / "out"):
        loaded = weights.load(path)
        assert loaded.config == model.config
        for name, array in by_path(model).items():
            np.testing.assert_array_equal(by_path(loaded.model)[name], array, err_msg=name)


def test_a_run_without_checkpoints_and_one_that_is_damaged(tmp_path):
    directory = tmp_path / "run"
    trained(directory)
    for file in (directory / "checkpoints/10/default").rglob("*"):
        if file.is_file() and "/d/" in str(file):
            file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(UsageError, match=r"checkpoints/10: cannot be read, it is damaged"):
        weights.load(directory)
    (directory / "checkpoints").rename(directory / "elsewhere")
    with pytest.raises(UsageError, match="has no checkpoint yet"):
        weights.load(directory)


def fresh(**changes):
    config = weights.load(GOLDEN / "bert").config
    return drawn(replace(config, **changes))


def test_start_loads_the_parameters_that_exist(tmp_path):
    model, report = weights.start(fresh(), GOLDEN / "bert")
    expected = by_path(weights.load(GOLDEN / "bert").model)
    assert not report.missing and not report.unused and report.found.keys() == expected.keys()
    for name, array in by_path(model).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_missing_parameters_keep_their_values():
    model = fresh()
    found = dict(weights.read(GOLDEN / "bert").arrays)
    kernel = found.pop("pooler/kernel")
    filled, report = weights.fill(model, found | {"classifier/kernel": kernel})
    assert (report.missing, report.unused) == ({"pooler/kernel": (20, 20)}, {"classifier/kernel": (20, 20)})
    np.testing.assert_array_equal(filled.pooler.kernel[...], model.pooler.kernel[...])
    np.testing.assert_array_equal(filled.tokens[...], found["tokens"])
    table = str(report).splitlines()
    assert "missing  pooler/kernel" in "\n".join(table)
    assert "unused   classifier/kernel" in "\n".join(table)
    assert len({len(line) for line in table[:-1]}) == 1  # one table: its columns are in line
    assert table[-1].endswith("1 missing and left at their initial values, 1 not used")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"vocabulary": 54}, "of another architecture; expected model.vocabulary=53$"),
        ({"depth": 2, "context": 32}, "expected model.context=19 model.depth=3$"),
        ({"heads": 4}, "expected model.heads=5$"),
        ({"activation": "gelu_erf"}, "expected model.activation=gelu_tanh$"),
        ({"hidden": 24}, "expected model.hidden=none$"),
        ({"bias": False}, "expected model.bias=true$"),
    ],
)
def test_a_mismatch_is_named(changes, message):
    with pytest.raises(UsageError, match=message):
        weights.start(fresh(**changes), GOLDEN / "bert")


def test_a_decoder_is_no_encoder():
    with pytest.raises(UsageError, match=r"made with model.family=gpt2, the experiment has bert"):
        weights.start(fresh(), GOLDEN / "gpt2")
