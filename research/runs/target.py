"""Steps, tokens and seconds until a run reached its target, from its rows."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from research.config.target import PATIENCE, Target, direction_of
from research.errors import UsageError, did_you_mean
from research.runs.metrics_log import Row


class Reached(NamedTuple):
    """The first evaluation after step 0 that meets a target."""

    target: str  # as typed: loss<3.28
    value: float  # with patience, the best one so far
    step: int
    tokens: int | None  # None without training rows
    seconds: float | None  # of training, without evaluations and saves


def check(target: Target | None, numbers: Collection[str]) -> None:
    """Raises UsageError if the target's metric is not among the `numbers` of a validation row."""
    if target is not None and target.metric not in numbers:
        raise UsageError(
            f"run.stop_at={target}: {target.metric}: not a number of a validation row"
            f"{did_you_mean(target.metric, numbers)}"
        )


def reached(rows: Sequence[Row], target: Target | None) -> Reached | None:
    """The first evaluation after step 0 that meets the target; None without a target or evaluation."""
    if target is None:
        return None
    validation = [row for row in rows if row["split"] == "validation"]
    met = (_stalled if target.comparison == PATIENCE else _met)(validation, target)
    if met is None:
        return None
    step, value = met
    tokens, seconds = (_at(rows, name, step) for name in ("tokens", "seconds"))
    return Reached(str(target), value, step, None if tokens is None else round(tokens), seconds)


def _met(rows: Sequence[Row], target: Target) -> tuple[int, float] | None:
    """(step, value) of the first row after step 0 that meets the target."""
    found = (row for row in rows if row["step"] and target.met(row.get(target.metric)))
    return next(((row["step"], row[target.metric]) for row in found), None)


def _stalled(rows: Sequence[Row], target: Target) -> tuple[int, float] | None:
    """(step, best value) at the first row that exhausts the target's patience."""
    sign = 1 if direction_of(target.metric) == "minimize" else -1
    best, since = math.inf, 0  # negated if higher is better
    for row in rows:
        measured = row.get(target.metric)
        value = sign * measured if isinstance(measured, int | float) else math.nan
        best, since = (value, 0) if value < best else (best, since + 1)
        if since >= target.number and row["step"]:
            return row["step"], sign * best
    return None


def _at(rows: Sequence[Row], name: str, step: int) -> float | None:
    """Interpolates `name` at `step` between training rows; extrapolates at mean speed after the last."""
    train = [row for row in rows if row["split"] == "train" and name in row]
    if not train:
        return None
    last = train[-1]
    if step > last["step"]:
        return round(last[name] * step / last["step"], 3)
    steps, values = [0, *(row["step"] for row in train)], [0.0, *(row[name] for row in train)]
    return round(float(np.interp(step, steps, values)), 3)
