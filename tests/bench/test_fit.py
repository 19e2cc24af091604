"""The search for settings that fit, with compilers that are made up."""

from types import SimpleNamespace

import pytest

import experiments
from research.bench import fit
from research.config.settings import override
from research.devices.memory import Need
from research.devices.targets import CHIPS
from research.training.placement import DoesNotFit


def declared(**changes):
    return override(experiments.get("gpt2_tiny"), {name.replace("__", "."): v for name, v in changes.items()})


def needs(experiment) -> Need:
    """100 bytes of state, over fsdp; 10 a sequence, 2 where blocks are computed again."""
    state = 100 // experiment.parallel.fsdp
    each = 2 if experiment.model.remat == "block" else 10
    return Need(state, 0, state + each * experiment.data.batch // experiment.parallel.parts, state)


@pytest.mark.parametrize(("usable", "batch"), [(419, 31), (259, 15), (110, 1), (109, 0)])
def test_the_largest_batch_is_found_by_a_line(usable, batch):
    assert fit.largest_batch(declared(data__batch=32), needs, rows=32, usable=usable) == batch


def test_parts_of_a_batch_count():
    experiment = declared(data__batch=32, parallel__accumulate=4)
    assert fit.largest_batch(experiment, needs, rows=8, usable=159) == 4 * 5


def test_a_wrong_line_is_put_right_by_compiling():
    def steeper(experiment) -> Need:  # a gathered array of its own from 20 sequences on, up to 31
        extra = 100 if 20 <= experiment.data.batch < 32 else 0
        return needs(experiment)._replace(peak=needs(experiment).peak + extra)

    found = fit.largest_batch(declared(data__batch=32), steeper, rows=32, usable=399)
    assert found == 19
    assert steeper(declared(data__batch=found)).peak <= 399


def searched(memory: int, devices: int = 8, bounds: bool = True, **changes) -> list[tuple]:
    """(remat, fsdp, parts) of what fits, fastest first.

    Blocks computed again take a quarter longer, each part a second, and a split state two.
    """

    def planned_for(experiment):
        experiment = override(experiment, {"data.batch": 16})
        for parts in (1, 2, 4, 8, 16):
            settled = override(experiment, {"parallel.accumulate": parts})
            if needs(settled).peak <= memory:
                again = {"none": 1.0, "dots": 1.1, "block": 1.25}[experiment.model.remat]
                seconds = 40 * again + parts + 2 * (experiment.parallel.fsdp > 1)
                bound = SimpleNamespace(seconds=seconds) if bounds else None
                return settled, SimpleNamespace(accumulate=parts, bound=bound)
        raise DoesNotFit("too large")

    found = fit.search(declared(**changes), devices, planned_for)
    return [(e.model.remat, e.parallel.fsdp, e.parallel.accumulate) for e, _ in found]


def test_of_all_that_fits_the_fastest_is_first():
    """110 bytes: one sequence at a time, or five with blocks computed again; 12 of the state split."""
    assert searched(110) == [
        ("none", 8, 2), ("dots", 8, 2), ("block", 8, 1), ("block", 1, 4), ("none", 1, 16), ("dots", 1, 16),
    ]  # fmt: skip


def test_what_saves_memory_that_is_not_needed_is_not_tried():
    assert searched(1_000) == [("none", 1, 1)]
    assert searched(140, model__remat="block") == [("block", 1, 1)]
    assert ("block", 8, 1) not in searched(175)


def test_without_bounds_the_first_that_fits_is_taken():
    assert searched(110, bounds=False) == [("none", 1, 16)]
    assert searched(105, bounds=False) == [("block", 1, 8)]


def test_the_state_is_split_where_devices_are_left_for_it():
    assert searched(60)[0][1] == 8
    for devices, changes in ((1, {}), (8, {"parallel__compile": "pmap"}), (2, {"parallel__tensor": 2})):
        with pytest.raises(DoesNotFit, match="expected more devices"):
            searched(60, devices, **changes)


def test_overrides_are_those_to_type():
    before = declared()
    after = declared(parallel__accumulate=4, model__remat="block")
    assert sorted(fit.typed(before, after)) == ["model.remat=block", "parallel.accumulate=4"]


def test_a_gpus_pool_and_a_tpus_whole():
    assert fit.usable_of(CHIPS["h100"]) == int(0.95 * 84_942_979_072 * 0.92)
    assert fit.usable_of(CHIPS["v5e"]) == int(0.95 * 16 * 2**30)


def test_what_is_not_known_limits_nothing():
    assert fit.usable_of(CHIPS["h100-nvl"]) is None
    assert fit.usable_of(None) is None
