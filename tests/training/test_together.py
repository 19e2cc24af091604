"""Runs that share a program are those that have it alone, whatever becomes of the others."""

import jax
import numpy as np
import pytest

from research.config.settings import override
from research.errors import Diverged
from research.training.driving import Outer
from research.training.loop import running, train
from research.training.stopping.signals import Stop
from research.training.stopping.watchdog import Watchdog
from research.training.together import _put, _repeated, _take, together
from tests.training.test_hyperparameters import declared
from tests.training.tiny import final_arrays, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")

VARIED = [
    {"optimizer.rate.peak": 1e-3},
    {"optimizer.rate.peak": 5e-3, "run.seed": 1, "model.dropout": 0.3},
    {"optimizer.b2": 0.9999, "run.seed": 2},
    {"optimizer.rate.peak": 1e-2, "optimizer.decay": 0.01, "objective.z_loss": 0.1},
    {"model.width": 32},  # of another shape
]


def trained(experiments, folder, lanes, numbers=None, **stops):
    """{number: result or error} of runs in folder/number."""
    results, numbers = {}, iter(numbers or range(len(experiments)))
    outer = Outer(Stop(), Watchdog(folder, 0, 0))

    def one(number):
        try:
            stop = {"should_stop": stops[f"stop_{number}"]} if f"stop_{number}" in stops else {}
            results[number] = yield from running(
                experiments[number], folder / str(number), lambda line: None, outer=outer, **stop
            )
        except Diverged as error:
            results[number] = error

    def begin():
        number = next(numbers, None)
        return None if number is None else one(number)

    together(begin, lanes)
    return results


def assert_same_to_rounding(experiment, one, other):
    for row, expected in zip(timeless(one), timeless(other), strict=True):
        assert row["step"] == expected["step"] and row["split"] == expected["split"]
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    arrays = final_arrays(experiment, other)
    for name, array in final_arrays(experiment, one).items():
        if array.dtype == np.float32 and "qkv/bias" not in name:
            np.testing.assert_allclose(array, arrays[name], rtol=1e-2, atol=1e-4, err_msg=name)


def test_a_lane_keeps_what_is_put_there():
    state = {"weak": jax.numpy.asarray(0.5), "key": jax.random.key(0), "array": np.ones((2, 3), np.float32)}
    other = {"weak": jax.numpy.asarray(0.7), "key": jax.random.key(1), "array": np.zeros((2, 3), np.float32)}
    lanes = _put(_repeated(3)(state), other, 1)
    assert lanes["weak"].weak_type and lanes["array"].shape == (3, 2, 3)
    for lane, expected in ((0, state), (1, other), (2, state)):
        found = _take(lanes, lane)
        assert jax.random.key_data(found["key"]).tolist() == jax.random.key_data(expected["key"]).tolist()
        assert float(found["weak"]) == float(expected["weak"])
        assert (found["array"] == expected["array"]).all()


@pytest.mark.slow
def test_together_as_alone_in_lanes_that_are_given_on(tmp_path):
    """Five runs in two lanes: three more take a place that became free, one is of another shape."""
    experiments = [declared(tmp_path, **changes, **{"run.steps": 6 + n}) for n, changes in enumerate(VARIED)]
    results = trained(experiments, tmp_path / "together", 2)
    assert [results[n].step for n in range(5)] == [6, 7, 8, 9, 10]
    for number, experiment in enumerate(experiments):
        train(experiment, tmp_path / "alone" / str(number), lambda line: None)
        assert_same_to_rounding(
            experiment, tmp_path / "together" / str(number), tmp_path / "alone" / str(number)
        )


@pytest.mark.slow
def test_a_neighbour_that_diverges_or_stops_or_goes_on_disturbs_nobody(tmp_path):
    """To the bit: the others are the same with one that diverges, and one that is stopped and resumed."""
    calm = [declared(tmp_path, **{"optimizer.rate.peak": peak}) for peak in (1e-3, 2e-3, 3e-3)]
    trained(calm, tmp_path / "calm", 3)
    wild = {"optimizer.rate.peak": 1e30, "run.stop_on_nan": True, "optimizer.clip": 1e9}
    mixed = [override(calm[0], wild), calm[1], calm[2]]
    stops = {"stop_1": lambda row: row["step"] == 6}
    results = trained(mixed, tmp_path / "mixed", 3, **stops)
    assert isinstance(results[0], Diverged) and results[1].step == 6 and results[2].finished
    shorter = [*calm, override(calm[0], {"run.steps": 7})]
    assert trained(shorter, tmp_path / "mixed", 3, numbers=[3, 1])[1].finished  # one at step 0, one at 6
    for number in (1, 2):
        assert timeless(tmp_path / "mixed" / str(number)) == timeless(tmp_path / "calm" / str(number))
        expected = final_arrays(calm[number], tmp_path / "calm" / str(number))
        for name, array in final_arrays(calm[number], tmp_path / "mixed" / str(number)).items():
            assert array.tobytes() == expected[name].tobytes(), name
