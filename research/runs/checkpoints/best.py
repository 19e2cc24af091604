"""Finds the best of a run's evaluations by one number of their rows."""

import math
from collections.abc import Collection, Sequence

from research.config.target import LOW_IS_GOOD
from research.errors import UsageError, did_you_mean
from research.runs.metrics_log import Row


def score(row: Row, name: str | None) -> float | None:
    """The number `name` of a validation row, negated if lower is better; None without a name, or if NaN.

    Raises UsageError if the row has no such number.
    """
    return None if name is None or math.isnan(found := _score(row, name)) else found


def _score(row: Row, name: str) -> float:
    numbers = {key: value for key, value in row.items() if key != "step" and isinstance(value, int | float)}
    check(name, numbers)
    return -numbers[name] if name.endswith(LOW_IS_GOOD) else numbers[name]


def check(name: str | None, numbers: Collection[str]) -> None:
    """Raises UsageError if `name` is not among the `numbers` of a validation row."""
    if name is not None and name not in numbers:
        raise UsageError(
            f"run.keep_best={name}: not a number of a validation row{did_you_mean(name, numbers)}"
        )


def is_best(row: Row, rows: Sequence[Row], name: str | None) -> bool:
    """Whether a validation row's score exceeds that of every other validation row; NaN exceeds none."""
    if (best := score(row, name)) is None:
        return False
    others = (score(old, name) for old in rows if old["split"] == "validation" and old["step"] != row["step"])
    return best > max((other for other in others if other is not None), default=-math.inf)
