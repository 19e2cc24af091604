"""Steps, tokens and seconds until a run reached its target, from its rows."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from research.config.target import Target
from research.errors import UsageError, did_you_mean
from research.runs.metrics_log import Row


class Reached(NamedTuple):
    """The first evaluation after step 0 that meets a target."""

    target: str  # as typed: loss<3.28
    value: float
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
    for row in rows:
        if row["split"] == "validation" and row["step"] and target.met(row.get(target.metric)):
            tokens, seconds = (_at(rows, name, row["step"]) for name in ("tokens", "seconds"))
            whole = None if tokens is None else round(tokens)
            return Reached(str(target), row[target.metric], row["step"], whole, seconds)
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
