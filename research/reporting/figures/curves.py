"""Curves of runs for a figure; over steps, runs that differ only in their seed are averaged."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from research.reporting.comparison import differing, format_labelled, labels
from research.reporting.groups.counted import free
from research.reporting.runs import Run
from research.reporting.series import AXES, columns


class Curve(NamedTuple):
    """Points P of a group of runs; the error is the standard error of the mean, None for one run."""

    label: str
    split: str
    runs: int
    seeds: int  # the fewest at a point
    x_P: np.ndarray
    mean_P: np.ndarray
    error_P: np.ndarray | None
    joined: bool = True  # whether a line joins the points
    also: tuple[str, ...] = ()  # other settings in which the points differ


def over_steps(runs: Sequence[Run], metric: str, split: str, axis: str, smoothing: float) -> list[Curve]:
    """Curves over an axis of AXES; training rows are smoothed."""
    measured = [columns(run, len(run.rows) + 1)[split] for run in runs]
    return [
        _curve(label, split, some, metric, AXES[axis], smoothing)
        for label, members in _groups(runs)
        if (some := [measured[at] for at in members if metric in measured[at]])
    ]


def smooth(values_P: np.ndarray, weight: float) -> np.ndarray:
    """Exponential moving average with bias correction, as on the page; missing values stay missing."""
    mean, total, smoothed = 0.0, 0.0, []
    for value in values_P:
        if not math.isnan(value):
            mean, total = weight * mean + (1 - weight) * value, weight * total + (1 - weight)
        smoothed.append(value if math.isnan(value) else mean / total)
    return np.array(smoothed)


def _groups(runs: Sequence[Run]) -> list[tuple[str, list[int]]]:
    """(label, indices) of runs that differ only in the seed and in `free` settings."""
    settings = [run.settings for run in runs]
    names = enough(settings, [name for name in differing(settings) if not free(name)])
    short, groups = labels(names), {}
    for at, run in enumerate(runs):
        groups.setdefault(tuple(str(run.settings.get(name)) for name in names), []).append(at)
    return [(format_labelled(runs[members[0]].settings, short), members) for members in groups.values()]


def _curve(
    label: str, split: str, measured: list[dict[str, Any]], metric: str, axis: str, smoothing: float
) -> Curve:
    """The mean of a group at the steps that all its runs have; tokens and seconds are averaged too."""
    by_step = []
    for one in measured:
        values = np.array([math.nan if value is None else value for value in one[metric]], float)
        values = smooth(values, smoothing) if split == "train" and smoothing else values
        by_step.append(dict(zip(one["step"], zip(one[axis], values, strict=True), strict=True)))
    steps = sorted(set.intersection(*map(set, by_step)))
    pairs = np.array([[one[step] for step in steps] for one in by_step], float).reshape(len(by_step), -1, 2)
    x_P, values = pairs[:, :, 0].mean(0), pairs[:, :, 1]
    count = len(values)
    error_P = values.std(0, ddof=1) / math.sqrt(count) if count > 1 else None
    return Curve(label, split, count, count, x_P, values.mean(0), error_P)


def enough(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """A few of `names` that tell the settings apart: a legend has no room for more."""
    kept: list[str] = []
    for name in names:
        if different(settings, [*kept, name]) > different(settings, kept):
            kept.append(name)
    return kept


def different(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """The number of different settings, compared by `names` alone."""
    return len({tuple(str(one.get(name)) for name in names) for one in settings})
