"""The search for settings that fit, with compilers that are made up."""

import pytest

import experiments
from research.bench import fit
from research.config.settings import override
from research.devices.memory import Need
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


def test_blocks_are_computed_again_before_the_state_is_split():
    tried = [(e.model.remat, e.parallel.fsdp, e.parallel.accumulate) for e in fit.candidates(declared(), 8)]
    assert tried == [("none", 1, "auto"), ("block", 1, "auto"), ("none", 8, "auto"), ("block", 8, "auto")]
    one = [(e.model.remat, e.parallel.fsdp) for e in fit.candidates(declared(), 1)]
    assert one == [("none", 1), ("block", 1)]


def test_the_first_that_fits_is_taken_and_none_is_refused():
    def settle(limit):
        def settled(experiment):
            if needs(override(experiment, {"data.batch": 1})).peak > limit:
                raise DoesNotFit("too large")
            return experiment

        return settled

    assert fit.fitting(declared(), settle(105), 8).model.remat == "block"
    assert fit.fitting(declared(), settle(30), 8).parallel.fsdp == 8
    with pytest.raises(DoesNotFit, match="expected more devices"):
        fit.fitting(declared(), settle(5), 8)


def test_overrides_are_those_to_type():
    before = declared()
    after = declared(parallel__accumulate=4, model__remat="block")
    assert sorted(fit.typed(before, after)) == ["model.remat=block", "parallel.accumulate=4"]
