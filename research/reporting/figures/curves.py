"""Curves of runs for a figure; over steps, runs that differ only in their seed are averaged."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from research.errors import UsageError, did_you_mean
from research.reporting.comparison import differing, format_labelled, labels
from research.reporting.figures.curve import OVER, Curve, enough
from research.reporting.figures.over_setting import across, setting_named
from research.reporting.groups.same_settings import distinct, free
from research.reporting.runs import Run
from research.reporting.series import columns


def curves(
    runs: Sequence[Run], metric: str, splits: Sequence[str], over: str, smoothing: float
) -> list[Curve]:
    """The curves of `metric`, smoothed in training rows; splits in which no run measures it are left out.

    `over` is one of OVER, or a setting; then a point is the final value of finished runs with one value of
    it. Copies of a run are drawn once. Raises UsageError for a metric that no run measures and for a setting
    in which runs do not differ.
    """
    runs = distinct(runs)
    measured = [columns(run, len(run.rows) + 1) for run in runs]
    found = [split for split in splits if any(metric in one[split] for one in measured)]
    if not found:
        known = {name for one in measured for split in splits for name in one[split]} - set(OVER.values())
        raise UsageError(
            f"--metric {metric}: not measured in {' or '.join(splits)}{did_you_mean(metric, known)}"
        )
    if over not in OVER:
        setting = setting_named(over, runs)
        return [curve for split in found for curve in across(runs, metric, split, setting)]
    groups = _groups(runs)
    return [
        _curve(label, split, [measured[at][split] for at in members], metric, OVER[over], smoothing)
        for split in found
        for label, members in groups
        if any(metric in measured[at][split] for at in members)
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
        if metric in one:
            values = np.array([math.nan if value is None else value for value in one[metric]], float)
            values = smooth(values, smoothing) if split == "train" and smoothing else values
            by_step.append(dict(zip(one["step"], zip(one[axis], values, strict=True), strict=True)))
    steps = sorted(set.intersection(*map(set, by_step)))
    pairs = np.array([[one[step] for step in steps] for one in by_step], float).reshape(len(by_step), -1, 2)
    x_P, values = pairs[:, :, 0].mean(0), pairs[:, :, 1]
    count = len(values)
    error_P = values.std(0, ddof=1) / math.sqrt(count) if count > 1 else None
    return Curve(label, split, count, count, x_P, values.mean(0), error_P)
