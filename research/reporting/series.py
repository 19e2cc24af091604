"""Rows as columns for charts: every number against steps, tokens and seconds."""

import math
from typing import Any

import numpy as np

from research.reporting.runs import Run
from research.runs.metrics_log import Row

POINTS = 20_000  # per chart, over all runs; more make a browser slow
LEAST = 400  # points of each run, however many runs there are
AXES = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}  # as typed, and in rows

Columns = dict[str, list[Any]]  # {"step": […], "tokens": […], "seconds": […], "loss": […], …}


def columns(run: Run, points: int) -> dict[str, Columns]:
    """{"train": columns of about `points` rows, "validation": columns}; None if a value is not finite."""
    train, validation = run.split("train"), run.split("validation")
    clock = {name: _clock(train, name) for name in ("tokens", "seconds")}
    timed = [row | {name: at(row["step"]) for name, at in clock.items()} for row in validation]
    return {"train": _columns(thinned(train, points)), "validation": _columns(timed)}


def samples(run: Run) -> list[dict[str, Any]]:
    """[{"step", "text"}, …] of the texts that the run generated at its evaluations."""
    return [
        {"step": row["step"], "text": row["sample"]} for row in run.split("validation") if row.get("sample")
    ]


def thinned(rows: list[Row], points: int) -> list[Row]:
    """Thins `rows` to about `points`: those with the lowest and highest loss in each stretch, and the ends.

    It skips rows and never averages, so each drawn point was measured and no spike is lost.
    """
    if len(rows) <= points:
        return rows
    stretches = np.array_split(np.arange(len(rows)), points // 2)
    losses = np.array([row["loss"] for row in rows], float)
    losses[~np.isfinite(losses)] = np.inf  # a non-finite loss counts as a spike
    kept = {0, len(rows) - 1}
    for stretch in stretches:
        kept |= {int(stretch[losses[stretch].argmin()]), int(stretch[losses[stretch].argmax()])}
    return [rows[index] for index in sorted(kept)]


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def finite(value: Any) -> bool:
    return number(value) and math.isfinite(value)


def _clock(train: list[Row], name: str):
    """A function of the step that interpolates `name` between training rows; validation rows lack it."""
    steps = [0] + [row["step"] for row in train]
    values = [0.0] + [row[name] for row in train]
    return lambda step: round(float(np.interp(step, steps, values)), 3)


def _columns(rows: list[Row]) -> Columns:
    names = dict.fromkeys(name for row in rows for name, value in row.items() if finite(value))
    return {name: [value if finite(value := row.get(name)) else None for row in rows] for name in names}
