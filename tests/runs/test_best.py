"""The best evaluation: by its score, where NaN is worse than any number."""

import math

import pytest

from research.errors import UsageError
from research.runs.checkpoints import best


def rows(*losses):
    return [{"step": step, "split": "validation", "loss": loss} for step, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((3.0, 2.0, 2.5), [True, True, False]),
        ((3.0, math.nan, 2.0, 2.5), [True, False, True, False]),
        ((math.nan, 4.0, math.nan, 3.0), [False, True, False, True]),
        ((math.inf, 4.0), [False, True]),
    ],
)
def test_the_best_so_far(losses, expected):
    every = rows(*losses)
    found = [best.is_best(row, every[: row["step"] + 1], "loss") for row in every]
    assert found == expected
    assert [best.score(row, "loss") is None for row in every] == [math.isnan(loss) for loss in losses]


def test_a_metric_that_is_better_high_and_one_that_is_missing():
    row = {"step": 1, "split": "validation", "accuracy": 0.5}
    assert best.score(row, "accuracy") == 0.5 and best.score(row, None) is None
    assert not best.is_best(row, [], None)
    with pytest.raises(UsageError, match=r"run\.keep_best=acuracy: not a number of a validation row; did"):
        best.score(row, "acuracy")
