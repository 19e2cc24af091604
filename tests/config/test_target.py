"""Targets as typed: run.stop_at=loss<3.28."""

import math
from dataclasses import replace

import pytest

import experiments
from research.config.settings import from_json, override, to_json
from research.config.target import Target, parse
from research.errors import UsageError


@pytest.mark.parametrize(
    "text, expected",
    [
        ("loss<3.28", Target("loss", "<", 3.28)),
        (" bits_per_byte <= 1e0 ", Target("bits_per_byte", "<=", 1.0)),
        ("accuracy>0.9", Target("accuracy", ">", 0.9)),
        ("accuracy>=.9", Target("accuracy", ">=", 0.9)),
        ("loss patience 5", Target("loss", "patience", 5)),
        (" exact_match  patience 12 ", Target("exact_match", "patience", 12)),
    ],
)
def test_a_target_is_a_metric_a_comparison_and_a_number(text, expected):
    assert parse(text) == expected and parse(str(expected)) == expected


BOUNDS = ("loss", "loss=3.28", "<3", "loss<three", "loss<nan", "loss<", "3<loss", "loss<inf")
PATIENCES = ("patience 3", "loss patience -1", "loss patience 1.5", "loss patience")


@pytest.mark.parametrize("text", [*BOUNDS, *PATIENCES])
def test_another_text_is_refused_by_the_setting(text):
    with pytest.raises(UsageError, match=r"^run\.stop_at=.*expected METRIC<NUMBER"):
        override(experiments.get("quickstart"), {"run.stop_at": text})


def test_patience_needs_an_evaluation_and_a_direction():
    for text, message in (
        ("loss patience 0", "at least 1"),
        ("speed patience 2", "better if low or if high"),
    ):
        with pytest.raises(UsageError, match=message):
            parse(text)


def test_what_meets_it():
    below, at_most = Target("loss", "<", 3.0), Target("loss", "<=", 3.0)
    assert [below.met(value) for value in (2.9, 3.0, 3.1, math.nan, None)] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert at_most.met(3.0) and Target("accuracy", ">", 0.5).met(0.6)


def test_it_is_kept_and_needs_evaluations():
    declared = override(experiments.get("quickstart"), {"run.stop_at": "loss<4"})
    assert from_json(to_json(declared)) == declared and declared.run.target == Target("loss", "<", 4.0)
    assert experiments.get("quickstart").run.target is None
    with pytest.raises(UsageError, match=r"run\.evaluate_every=0"):
        replace(declared.run, evaluate_every=0)
