"""Declarations: overriding, validating, JSON both ways."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import experiments
from research.config import Schedule
from research.config.settings import (
    FORMAT,
    differences,
    flatten,
    from_json,
    override,
    parse_assignments,
    to_json,
)
from research.errors import UsageError


@pytest.fixture
def small():
    return experiments.get("gpt2_small")


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("run.steps", "6e5", 600_000),
        ("run.steps", "12", 12),
        ("optimizer.rate.peak", "1e-3", 1e-3),
        ("optimizer.clip", "none", None),
        ("optimizer.clip", "0.5", 0.5),
        ("model.bias", "false", False),
        ("data.source", "files:a=b.txt", "files:a=b.txt"),
        ("data.split", "tail", "tail"),
        ("model.heads", 8, 8),
        ("optimizer.rate.warmup", "9007199254740993", 9007199254740993),
        ("run.seed", 8.0, 8),
    ],
)
def test_override_converts(small, name, text, value):
    changed = flatten(override(small, {name: text}))
    assert changed[name] == value and type(changed[name]) is type(value)
    assert {k: v for k, v in changed.items() if k != name} == {
        k: v for k, v in flatten(small).items() if k != name
    }


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"optimizer.rate.peek": "1"}, "optimizer.rate.peak"),
        ({"optimizr.b1": "1"}, "optimizer.b1"),
        ({"model": "1"}, "model"),
        ({"name": "x"}, "no such setting"),
        ({"model.heads": "7"}, "divisor of model.width=768, such as 4, 6, 8"),
        ({"data.length": "1025"}, "model.context=1024"),
        ({"run.steps": "1.5"}, "expected an integer"),
        ({"run.steps": 1.5}, "expected an integer"),
        ({"run.steps": True}, "expected an integer"),
        ({"run.steps": "many"}, "expected an integer"),
        ({"run.steps": "inf"}, "expected an integer"),
        ({"run.steps": "-1"}, "more than 0"),
        ({"model.bias": "1"}, "true or false"),
        ({"model.family": "gtp2"}, "gpt2"),
        ({"model.dropout": "1.0"}, "below 1"),
        ({"optimizer.rate.peak": "nan"}, "expected a number"),
        ({"optimizer.rate.peak": "inf"}, "expected a number"),
        ({"run.watchdog": "nan"}, "expected a number"),
        ({"run.seed": str(2**32)}, "at most 4294967295"),  # JAX draws what it draws for 0
        ({"run.steps": "1e20"}, "at most 2147483647"),
        ({"optimizer.rate.warmup": "-1"}, "from 0"),
    ],
)
def test_override_refuses_in_one_line(small, changes, message):
    with pytest.raises(UsageError) as error:
        override(small, changes)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert next(iter(changes)) in str(error.value)


def test_all_changes_apply_before_any_is_checked(small):
    for names in (["model.width", "model.heads"], ["model.heads", "model.width"]):
        values = {"model.width": "100", "model.heads": "10"}
        assert override(small, {name: values[name] for name in names}).model.heads == 10


def test_assignment_keeps_what_follows_the_first_equals_sign():
    assert parse_assignments(["data.source=files:a=b", "run.seed=1"]) == {
        "data.source": "files:a=b",
        "run.seed": "1",
    }
    with pytest.raises(UsageError, match=r"a\.b=value"):
        parse_assignments(["run.seed"])


@pytest.mark.parametrize("name", experiments.names())
def test_json_round_trip(name):
    experiment = experiments.get(name)
    assert from_json(json.loads(json.dumps(to_json(experiment)))) == experiment
    hash(experiment)


@given(st.integers(1, 10**9), st.floats(1e-9, 10.0))
def test_formatted_values_can_be_typed_back(steps, peak):
    small = experiments.get("gpt2_small")
    changed = override(small, {"run.steps": str(steps + 700), "optimizer.rate.peak": repr(peak)})
    assert (changed.run.steps, changed.optimizer.rate.peak) == (steps + 700, peak)
    assert from_json(json.loads(json.dumps(to_json(changed)))) == changed


def test_json_refuses_what_it_does_not_know(small):
    record = to_json(small)
    with pytest.raises(UsageError, match=r"model\.widht: no such setting.*did you mean width"):
        from_json(record | {"model": record["model"] | {"widht": 1}})
    with pytest.raises(UsageError, match=r"run\.steps: missing"):
        from_json(record | {"run": {k: v for k, v in record["run"].items() if k != "steps"}})
    assert from_json({k: v for k, v in record.items() if k != "start"}) == small, (
        "recorded before it was a setting"
    )
    with pytest.raises(UsageError, match=f"format {FORMAT + 1}"):
        from_json(record | {"format": FORMAT + 1})


def test_a_number_that_jit_ignored_is_read(small):
    record = to_json(small)
    record["parallel"] |= {"compile": "jit", "data": 3}
    assert from_json(record).parallel.data == -1


def test_a_subclass_of_a_section_is_refused(small):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Mine(Schedule):
        knee: float = 0.5

    optimizer = dataclasses.replace(small.optimizer, rate=Mine(peak=1.0))
    with pytest.raises(
        UsageError, match=r"optimizer\.rate=Mine\(…\): a record cannot keep knee; expected Sched"
    ):
        dataclasses.replace(small, optimizer=optimizer)


def test_differences_name_both_values(small):
    changed = override(small, {"run.seed": "3", "model.dropout": "0.1"})
    assert differences(small, changed) == {"run.seed": (0, 3), "model.dropout": (0.0, 0.1)}
    assert differences(small, small) == {}


def test_declarations_cannot_be_changed(small):
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.run.steps = 1
