"""Steps that share a call of the program have the numbers of steps that do not."""

import os
import signal

import jax
import numpy as np
import pytest

from research.config import Run
from research.errors import UsageError
from research.models.parameters import by_path
from research.training.first_state import drawn
from research.training.logging.progress import Lines
from research.training.loop import train
from research.training.multi_step import call_ranges
from research.training.placement import compile_for
from tests.mostly_slow import mostly_slow
from tests.training.test_loop import assert_same_run
from tests.training.tiny import quickstart, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

EVERY = {"run__evaluate_every": 6, "run__checkpoint_every": 3}


def batch_of(step: int) -> dict[str, np.ndarray]:
    """Rows with different numbers of targets."""
    random = np.random.default_rng(step)
    tokens = random.integers(0, 300, (8, 33)).astype(np.int32)
    weights = (random.random((8, 32)) < 0.5).astype(np.float32)
    return {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights}


def six_steps(experiment):
    """Losses and, by path, all of the state after six steps."""
    size = experiment.run.steps_per_call
    _, program = compile_for(experiment)
    state = drawn(experiment, program.layout)
    losses = []
    for first in range(0, 6, size):
        prefetch_to_device = [program.feed(batch_of(step)) for step in range(first, first + size)]
        state, sums = program.step(state, prefetch_to_device[0] if size == 1 else prefetch_to_device)
        losses += np.ravel(sums["loss"]).tolist()
    state = state.replace(key=jax.random.key_data(state.key))
    return losses, by_path(jax.device_get(state))


@pytest.mark.parametrize("compiler", mostly_slow(["jit", "sharded", "pmap"], 0))
def test_one_call_of_three_steps_is_three_calls(compiler, tmp_path):
    """To rounding: the compiler may fuse a loop's body in other ways. Dropout is on."""
    one, three = (
        six_steps(
            quickstart(tmp_path / "c.txt", run__steps_per_call=size, parallel__compile=compiler, **EVERY)
        )
        for size in (1, 3)
    )
    np.testing.assert_allclose(one[0], three[0], rtol=1e-6)
    for name, expected in one[1].items():
        if "qkv/bias" in name:
            continue  # softmax does not see the keys' bias: its gradient is rounding, which Adam blows up
        difference = np.linalg.norm(np.asarray(three[1][name], np.float64) - expected)
        assert difference <= 1e-5 * max(np.linalg.norm(expected), 1e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["jit", "sharded", "pmap"])
def test_the_state_that_a_step_returns_is_one_it_is_compiled_for(compiler, tmp_path, caplog):
    experiment = quickstart(tmp_path / "c.txt", parallel__compile=compiler)
    _, program = compile_for(experiment)
    state = drawn(experiment, program.layout)
    with jax.log_compiles():
        state, _ = program.step(state, program.feed(batch_of(0)))
        assert "Finished XLA compilation" in caplog.text
        caplog.clear()
        program.step(state, program.feed(batch_of(1)))
    assert "Finished XLA compilation" not in caplog.text


@pytest.mark.parametrize("size, start, steps", [(1, 0, 3), (4, 0, 12), (4, 8, 12), (5, 3, 12), (20, 0, 12)])
def test_calls_cover_every_step_once_and_do_not_depend_on_the_start(size, start, steps):
    run = Run(steps=steps, steps_per_call=size, evaluate_every=0, checkpoint_every=0)
    made = list(call_ranges(run, start))
    assert [step for call in made for step in call] == list(range(start + 1, steps + 1))
    assert all(call[-1] % size == 0 or call[-1] == steps for call in made)
    whole = {call[-1] for call in call_ranges(run, 0)}
    assert {call[-1] for call in made} <= whole


@pytest.mark.slow
def test_a_run_logs_evaluates_and_stops_as_with_single_steps(tmp_path, monkeypatch):
    """Rows of the same steps with the same numbers; stopped between two calls, it goes on to equal bits."""
    single = quickstart(tmp_path / "c.txt", run__log_every=2, **EVERY)
    several = quickstart(tmp_path / "c.txt", run__log_every=2, run__steps_per_call=3, **EVERY)
    train(single, tmp_path / "single", lambda line: None)
    train(several, tmp_path / "several", lambda line: None)
    pairs = list(zip(timeless(tmp_path / "single"), timeless(tmp_path / "several"), strict=True))
    for one, other in pairs:
        assert one.keys() == other.keys() and one["step"] == other["step"]
        for name in ("loss", "gradient_norm", "tokens", "learning_rate"):
            if name in one:
                assert other[name] == pytest.approx(one[name], rel=1e-4), (one["step"], name)
    assert [one["step"] for one, _ in pairs if one["split"] == "train"] == [2, 4, 6, 8, 10, 12]

    def interrupt(lines, step):
        if step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Lines, "advance", interrupt)
        assert train(several, tmp_path / "stopped", lambda line: None).step == 6
    train(several, tmp_path / "stopped", lambda line: None)
    assert_same_run(several, tmp_path / "several", tmp_path / "stopped")


def test_what_is_due_inside_a_call_is_refused(tmp_path):
    with pytest.raises(
        UsageError, match=r"run\.steps_per_call=4: expected a divisor of run\.evaluate_every=6"
    ):
        quickstart(tmp_path / "c.txt", run__steps_per_call=4)
    with pytest.raises(UsageError, match=r"run\.profile=13: expected at most run\.steps=12"):
        quickstart(tmp_path / "c.txt", run__profile=13)
