"""run.hyperparameters=inputs: one program for all numbers, each of which is really its input."""

import logging
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.config.hyperparameters import INPUT, NUMBERS, SHARES, comparable, split
from research.config.names import OPTIMIZERS, POSITIONS, SCHEDULES
from research.config.settings import flatten, override
from research.devices import xla
from research.models.parameters import by_path
from research.models.parts.positions import Positions
from research.optimizers.schedules import schedule
from research.runs.state import initial_model
from research.runs.traced_numbers import Beta, fill
from research.training import shared_program
from research.training.first_state import drawn
from research.training.loop import train
from research.training.placement import compile_for
from research.training.shared_program import NeedsConstants
from tests.training.test_loop import assert_same_run
from tests.training.test_multi_step import batch_of
from tests.training.tiny import quickstart, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

ONE = {
    "optimizer.rate.name": "warmup_stable_decay",
    "optimizer.rate.final": 0.1,
    "optimizer.rate.cooldown": 0.9,
    "optimizer.rate.layer_decay": 0.9,
    "optimizer.decay": 0.1,
    "optimizer.clip": 0.5,
    "optimizer.ema": 0.9999,
    "objective.z_loss": 1e-3,
    "objective.auxiliary": 0.5,  # of fine-tuning: no input of this step
    "run.skip_spikes": 3.0,
    "run.hyperparameters": "inputs",
}
OTHER = [  # each seen beside the others of its group
    {
        "optimizer.rate.peak": 2e-3,
        "optimizer.rate.final": 0.3,
        "optimizer.rate.layer_decay": 0.7,
        "optimizer.b1": 0.8,
        "optimizer.epsilon": 1e-3,
        "optimizer.ema": 0.9,
        "run.steps": 5,
    },
    {
        "optimizer.rate.warmup": 1,
        "optimizer.rate.cooldown": 0.6,
        "optimizer.b2": 0.9999,
        "optimizer.decay": 0.3,
        "optimizer.clip": 0.1,
        "model.dropout": 0.4,
        "objective.z_loss": 1e-1,
        "run.seed": 2**31 + 3,
    },
]


def declared(folder, **changes):
    return override(quickstart(folder / "c.txt"), ONE | changes)


@cache
def first_arrays(config):
    return jax.device_get(xla.jit(partial(initial_model, config, 0))())


def first_model(config):
    """A model of its own, since a step overwrites it."""
    return jax.tree.map(jnp.array, first_arrays(config))


def after_steps(experiment, model=None):
    """The state after four steps from `model`, or from one drawn by the seed."""
    program = compile_for(experiment)[1]
    state = drawn(experiment, program.layout, model)
    for step in range(4):
        state, _ = program.step(state, program.feed(batch_of(step)))
    state = state.saved().replace(key=jax.random.key_data(state.key))
    return by_path(jax.device_get(state))


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, expected in other.items():
        if "qkv/bias" not in name:  # the keys' has no gradient but rounding
            np.testing.assert_allclose(one[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_numbers_are_taken_out_and_put_back(tmp_path):
    experiment = declared(tmp_path)
    shape, values = split(experiment)
    before, without = flatten(experiment), flatten(shape)
    assert {name for name in before if without[name] is INPUT} == values.keys()
    assert {*NUMBERS, "run.seed"} - values.keys() == set()
    assert all(before[name] == value for name, value in without.items() if value is not INPUT)
    again = flatten(fill(shape, values))
    for name in values.keys() - set(SHARES) - {"model.dropout"}:
        assert again[name] == before[name], name
    assert split(override(experiment, {"run.seed": 5, "optimizer.rate.peak": 1.0}))[0] == shape
    with pytest.raises(TypeError):
        _ = shape.optimizer.rate.peak * 2


def test_what_is_none_or_zero_is_another_program(tmp_path):
    zero = {"optimizer.clip": None, "optimizer.ema": None, "model.dropout": 0.0, "objective.z_loss": 0.0}
    zero |= {"optimizer.rate.layer_decay": 1.0}
    shape, values = split(declared(tmp_path, **zero))
    assert not zero.keys() & values.keys()
    assert {name: flatten(shape)[name] for name in zero} == zero
    long = declared(tmp_path, **{"optimizer.rate.warmup": 2**40})  # no int32 holds it
    assert split(long)[0].optimizer.rate.warmup == 2**40


def test_a_share_keeps_the_digits_of_its_distance_from_one():
    for share in (0.9999, 0.999999, 0.9):
        traced = jax.jit(lambda b, rest: 1 - Beta(b, rest))(share, 1 - share)
        assert float(traced) == np.float32(1 - share)
    new, old = jnp.float32(3.0), jnp.float32(2.0)
    traced = jax.jit(lambda b, rest: optax.tree.update_moment(new, old, Beta(b, rest), 1))(0.9999, 1 - 0.9999)
    assert float(traced) == float(optax.tree.update_moment(new, old, 0.9999, 1))
    traced = jax.jit(lambda b, rest: 1 - Beta(b, rest) ** 7)(0.99, 0.01)
    assert float(traced) == pytest.approx(1 - 0.99**7, rel=1e-5)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_a_schedule_of_traced_numbers_is_that_of_constants(name, tmp_path):
    steps = jnp.arange(0, 12)
    for warmup, final in ((4, 0.3), (0, 0.0)):
        changes = {
            "optimizer.rate.name": name,
            "optimizer.rate.warmup": warmup,
            "optimizer.rate.final": final,
        }
        experiment = declared(tmp_path, **changes)
        shape, values = split(experiment)

        def rates(values, shape=shape):
            filled = fill(shape, values)
            return schedule(filled.optimizer.rate, filled.run.steps)(steps)

        expected = schedule(experiment.optimizer.rate, experiment.run.steps)(steps)
        np.testing.assert_allclose(jax.jit(rates)(values), expected, rtol=2e-6, atol=1e-9)


def test_warm_ups_that_float32_does_not_count(tmp_path):
    experiment = declared(
        tmp_path, **{"run.steps": 2**30, "optimizer.rate.warmup": 2**24 + 1, "optimizer.rate.name": "linear"}
    )
    shape, values = split(experiment)
    step = 2**29

    def rate(values):
        filled = fill(shape, values)
        return schedule(filled.optimizer.rate, filled.run.steps)(step)

    expected = schedule(experiment.optimizer.rate, experiment.run.steps)(step)
    assert float(jax.jit(rate)(values)) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.slow
def test_every_number_is_an_input_of_one_program(tmp_path):
    """With other values, the program that was compiled for the first does as one with those constants."""
    for group in ({}, *OTHER):
        changed = declared(tmp_path, **group)
        assert shared_program.shared_program(changed) is shared_program.shared_program(declared(tmp_path))
        found = after_steps(changed)
        assert_close(found, after_steps(override(changed, {"run.hyperparameters": "constants"})))
        for name in group:
            without = after_steps(
                declared(tmp_path, **{other: group[other] for other in group.keys() - {name}})
            )
            assert any((found[path] != without[path]).any() for path in found), f"{name} changes nothing"


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["jit", "sharded", "pmap"])
def test_a_run_stopped_and_resumed_is_one_that_was_not(compiler, tmp_path):
    """And two runs that share a program, one after the other, are those that have it alone."""
    experiment = declared(tmp_path, **{"parallel.compile": compiler, "run.steps": 8})
    other = override(experiment, {"optimizer.rate.peak": 5e-3, "run.seed": 3})
    train(other, tmp_path / "shared-other", lambda line: None)
    train(experiment, tmp_path / "shared", lambda line: None)
    shared_program._shared.cache_clear()
    jax.clear_caches()
    stops = {"should_stop": lambda row: row["step"] == 6}
    assert not train(experiment, tmp_path / "alone", lambda line: None, **stops).finished
    train(experiment, tmp_path / "alone", lambda line: None)
    assert_same_run(experiment, tmp_path / "shared", tmp_path / "alone")
    constants = override(experiment, {"run.hyperparameters": "constants"})
    train(constants, tmp_path / "constants", lambda line: None)
    for one, two in zip(timeless(tmp_path / "shared"), timeless(tmp_path / "constants"), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_an_optimizer_takes_its_numbers_as_inputs(name, tmp_path):
    experiment = declared(tmp_path, **{"optimizer.name": name, "optimizer.b2": 0.9999})
    constants = override(experiment, {"run.hyperparameters": "constants"})
    found = after_steps(experiment, first_model(split(experiment)[0].model))
    assert_close(found, after_steps(constants, first_model(experiment.model)))


@pytest.mark.parametrize(
    "asks",
    [
        lambda config: config.b1 > 0.5,
        lambda config: config.b1 == 0.9,
        lambda config: config.b1 != 0.8,
        lambda config: config.b1 in (0.9, 0.95),
        lambda config: config.decay == 0.1,
        lambda config: config.clip == 1.0,
    ],
)
def test_an_optimizer_that_asks_in_python_is_named(asks, registries, tmp_path):
    @OPTIMIZERS.register("choosy")
    def choosy(config, rate):
        return optax.sgd(rate, 0.9 if asks(config) else None)

    experiment = declared(tmp_path, **{"optimizer.name": "choosy"})
    with pytest.raises(
        NeedsConstants, match=r"run\.hyperparameters=constants, since optimizer\.name=choosy"
    ) as raised:
        train(experiment, tmp_path / "run", lambda line: None)
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()
    compile_for(replace(experiment, run=replace(experiment.run, hyperparameters="constants")))


def test_a_part_of_the_model_that_asks_in_python_is_refused(registries, tmp_path):
    """Not compiled with a wrong answer: the module has no number, but what stands where it was."""

    @POSITIONS.register("choosy")
    class Choosy(Positions):
        def embed(self, parameter, x, places):
            return x * (2 if self.model.dropout == 0.1 else 3)

    experiment = declared(tmp_path, **{"model.positions": "choosy", "model.dropout": 0.1})
    with pytest.raises(NeedsConstants, match="a part of the model needs a number in Python"):
        train(experiment, tmp_path / "run", lambda line: None)


@pytest.mark.slow
def test_rates_and_seeds_compile_once(tmp_path, caplog):
    """Eight rates and two seeds: one step, one initialization, one evaluation."""
    shared_program._shared.cache_clear()
    jax.clear_caches()
    caplog.set_level(logging.WARNING)
    with jax.log_compiles():
        for number in range(16):
            changes = {
                "optimizer.rate.peak": 1e-3 * (1 + number // 2),
                "run.seed": number % 2,
                "run.steps": 2,
                "run.sample": 0,
            }
            train(declared(tmp_path, **changes), tmp_path / str(number), lambda line: None)
    messages = [record.getMessage() for record in caplog.records]
    for program in ("step", "initial_state", "evaluate"):
        finished = f"Finished XLA compilation of jit({program}) "
        assert sum(message.startswith(finished) for message in messages) == 1, program


def test_declarations_are_compared_where_their_numbers_are_not(tmp_path):
    """JAX looks programs up by declarations, which a run with constants may have left there."""
    one = quickstart(tmp_path / "text.txt", model__dropout=0.1).model
    traced = split(quickstart(tmp_path / "text.txt", model__dropout=0.1))[0].model
    assert traced.dropout is INPUT
    with comparable.being(False):
        assert traced != one == replace(one)
        with pytest.raises(TypeError, match=r"an input of the program is compared with 0\.1"):
            bool(INPUT == 0.1)
        with pytest.raises(TypeError, match=r"compared with 0\.1"):
            bool(INPUT in (0.1,))
        # As native code compares arguments of an earlier call, whose hash may be the same.
        assert [0.1].count(INPUT) == 0
