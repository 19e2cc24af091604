"""Rows as columns that a chart can draw: every number against steps, tokens and seconds."""

import math
from typing import Any

import numpy as np

from research.reporting.runs import Run
from research.runs.metrics_log import Row

POINTS = 20_000  # of all runs, drawn in a chart; a browser is slow with more
LEAST = 400  # of a run, however many there are

Columns = dict[str, list[Any]]  # {"step": […], "tokens": […], "seconds": […], "loss": […], …}


def columns(run: Run, points: int) -> dict[str, Columns]:
    """{"train": columns of about `points` rows, "validation": columns}; what is not finite is None."""
    train, validation = run.split("train"), run.split("validation")
    clock = {name: _clock(train, name) for name in ("tokens", "seconds")}
    timed = [row | {name: at(row["step"]) for name, at in clock.items()} for row in validation]
    return {"train": _columns(thinned(train, points)), "validation": _columns(timed)}


def samples(run: Run) -> list[dict[str, Any]]:
    return [
        {"step": row["step"], "text": row["sample"]} for row in run.split("validation") if row.get("sample")
    ]


def thinned(rows: list[Row], points: int) -> list[Row]:
    """All of few rows; of many, those with the lowest and the highest loss of each stretch, and the ends.

    Rows are left out, never averaged: each point drawn was measured, and no spike is lost.
    """
    if len(rows) <= points:
        return rows
    stretches = np.array_split(np.arange(len(rows)), points // 2)
    losses = np.array([row["loss"] for row in rows], float)
    losses[~np.isfinite(losses)] = np.inf  # what was not finite is a spike
    kept = {0, len(rows) - 1}
    for stretch in stretches:
        kept |= {int(stretch[losses[stretch].argmin()]), int(stretch[losses[stretch].argmax()])}
    return [rows[index] for index in sorted(kept)]


def finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _clock(train: list[Row], name: str):
    """Validation rows have no clock: theirs is between those of the training rows around them."""
    steps = [0] + [row["step"] for row in train]
    values = [0.0] + [row[name] for row in train]
    return lambda step: round(float(np.interp(step, steps, values)), 3)


def _columns(rows: list[Row]) -> Columns:
    names = dict.fromkeys(name for row in rows for name, value in row.items() if finite(value))
    return {name: [value if finite(value := row.get(name)) else None for row in rows] for name in names}
