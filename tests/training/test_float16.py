"""Training in float16: the loss scale keeps gradients from underflow, and an overflow only skips a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.models.parameters import by_path
from research.models.platform import tracing_for
from research.models.precision import advice, compute_dtype
from research.optimizers.loss_scale import FIRST, GROWTH, LARGEST, LossScale, following
from research.training.first_state import drawn
from research.training.loop import train
from research.training.placement import compile_for
from research.training.stopping.nan_check import NanCheck
from tests.mostly_slow import mostly_slow
from tests.training.test_loop import assert_same_run
from tests.training.test_multi_step import batch_of
from tests.training.tiny import final_arrays, quickstart, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


def declared(folder, **changes):
    half = {"model__precision": "float16", "optimizer__clip": None}
    return quickstart(folder / "text.txt", **half | changes)


def steps(experiment, count=3, scale=None):
    """The state and the sums after `count` steps, the first with this loss scale."""
    _, program = compile_for(experiment)
    state = drawn(experiment, program.layout)
    if scale is not None:
        state = state.replace(loss_scale=LossScale(jnp.float32(scale), jnp.int32(0)))
    sums = {}
    for step in range(count):
        state, sums = program.step(state, program.feed(batch_of(step)))
    return jax.device_get(by_path(state.model)), state, sums


def distance(one, other):
    """Of two sets of parameters, relative to the norm of the second."""
    squares = {name: np.square(one[name] - other[name]).sum() for name in other}
    return float(np.sqrt(sum(squares.values()) / sum(np.square(x).sum() for x in other.values())))


def test_the_scale_halves_at_an_overflow_and_doubles_after_many_steps():
    scale = LossScale(jnp.float32(8.0), jnp.int32(0))
    assert following(scale, jnp.bool(False)) == LossScale(4.0, 0)
    assert following(scale, jnp.bool(True)) == LossScale(8.0, 1)
    assert following(LossScale(jnp.float32(8.0), jnp.int32(GROWTH - 1)), jnp.bool(True)) == LossScale(16.0, 0)
    assert following(LossScale(jnp.float32(8.0), jnp.int32(GROWTH - 1)), jnp.bool(False)) == LossScale(4.0, 0)
    assert following(LossScale(jnp.float32(1.0), jnp.int32(5)), jnp.bool(False)) == LossScale(1.0, 0)
    assert following(LossScale(jnp.float32(LARGEST), jnp.int32(GROWTH)), jnp.bool(True)).scale == LARGEST


@pytest.mark.parametrize(
    "layout",
    mostly_slow(
        [
            {},
            {"parallel__accumulate": 4},
            {"parallel__compile": "sharded", "parallel__fsdp": 2},
            {"parallel__compile": "pmap"},
        ],
        0,
    ),
)
def test_three_steps_are_those_of_float32(layout, tmp_path):
    plain = {"model__dropout": 0.0, "optimizer__name": "sgd", "optimizer__rate__peak": 0.3} | layout
    half, state, sums = steps(declared(tmp_path, **plain))
    single, _, _ = steps(declared(tmp_path, **plain, model__precision="float32"))
    start, _, _ = steps(declared(tmp_path, **plain), 0)
    assert distance(half, single) < 0.02 * distance(single, start)
    assert state.loss_scale.scale == sums["loss_scale"] == FIRST and state.loss_scale.steps == 3
    assert all(array.dtype == np.float32 for array in half.values())


def test_without_a_scale_gradients_would_underflow(tmp_path):
    """So the test above can fail."""
    plain = {"model__dropout": 0.0, "optimizer__name": "sgd", "optimizer__rate__peak": 0.3}
    single, _, _ = steps(declared(tmp_path, **plain, model__precision="float32"))
    start, _, _ = steps(declared(tmp_path, **plain), 0)
    tiny, _, _ = steps(declared(tmp_path, **plain), scale=2.0**-12)
    assert distance(tiny, single) > 0.05 * distance(single, start)


def test_an_overflow_skips_the_step_and_is_no_divergence(tmp_path):
    experiment = declared(tmp_path)
    start, _, _ = steps(experiment, 0)
    found, state, sums = steps(experiment, 1, scale=LARGEST)
    assert all((found[name] == start[name]).all() for name in start)
    assert state.loss_scale.scale == LARGEST / 2 and sums["skipped"] == 1
    assert np.isfinite(sums["loss"]) and not np.isfinite(sums["gradient_norm"])
    check = NanCheck(tmp_path, enabled=True)
    check.hold(1, sums)
    check.settle()
    check.hold(1, {**sums, "loss_scale": np.float32(1)})  # the smallest scale overflows too
    with pytest.raises(Exception, match="the gradient is not finite"):
        check.settle()


@pytest.mark.slow
def test_a_run_that_was_stopped_is_one_that_was_not(tmp_path):
    experiment = declared(tmp_path, model__dropout=0.1)
    train(experiment, tmp_path / "whole", lambda line: None)
    stop = {"should_stop": lambda row: row["step"] == 6}
    assert not train(experiment, tmp_path / "parts", lambda line: None, **stop).finished
    train(experiment, tmp_path / "parts", lambda line: None)
    assert_same_run(experiment, tmp_path / "whole", tmp_path / "parts")
    rows = [row for row in timeless(tmp_path / "parts") if row["split"] == "train"]
    assert {row["loss_scale"] for row in rows} == {FIRST}
    assert final_arrays(experiment, tmp_path / "parts")["loss_scale/steps"] == 12


def test_a_gpu_without_bfloat16_is_advised_to_use_float16():
    for device, asked, advised in (
        (("gpu", (7, 5)), "auto", True),
        (("gpu", (7, 5)), "float16", False),
        (("gpu", (8, 0)), "auto", False),
        (("cpu", None), "auto", False),
    ):
        with tracing_for(*device):
            assert (advice(asked) is not None) == advised


def test_what_float16_does_not_support_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"optimizer\.name=sophia: its curvature underflows in float16"):
        compile_for(declared(tmp_path, optimizer__name="sophia"))
    with (
        tracing_for("tpu"),
        pytest.raises(UsageError, match=r"precision=float16: a TPU has none; expected b"),
    ):
        compute_dtype("float16")
