"""Curves of runs for a figure, over steps or a setting; runs that differ only in their seed are averaged."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from research.errors import UsageError, did_you_mean
from research.reporting.comparison import differing, format_labelled, labels
from research.reporting.groups.summary import free
from research.reporting.runs import Run
from research.reporting.series import columns

OVER = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}


class Curve(NamedTuple):
    """Points P of a group of runs; the error is the standard error of the mean, None for one run."""

    label: str
    split: str
    runs: int
    seeds: int  # the fewest of a point
    x_P: np.ndarray
    mean_P: np.ndarray
    error_P: np.ndarray | None


def curves(
    runs: Sequence[Run], metric: str, splits: Sequence[str], over: str, smoothing: float
) -> list[Curve]:
    """The curves of `metric`, with smoothed training rows; splits in which no run measures it are left out.

    `over` is one of OVER, or a setting: then a point is the final result of finished runs with its value.
    Raises UsageError for a metric that no run measures and for a setting in which runs do not differ.
    """
    measured = [columns(run, len(run.rows) + 1) for run in runs]
    found = [split for split in splits if any(metric in one[split] for one in measured)]
    if not found:
        known = {name for one in measured for split in splits for name in one[split]} - set(OVER.values())
        raise UsageError(
            f"--metric {metric}: not measured in {' or '.join(splits)}{did_you_mean(metric, known)}"
        )
    if over not in OVER:
        setting = setting_named(over, runs)
        ended = [at for at, run in enumerate(runs) if run.state == "finished"]
        kept, rows = [runs[at] for at in ended], [measured[at] for at in ended]
        return [curve for split in found for curve in _across(kept, rows, metric, split, setting)]
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


def setting_named(typed: str, runs: Sequence[Run]) -> str:
    """The numeric setting, differing between runs, whose name is or ends in `typed`."""
    settings = [run.settings for run in runs]
    known = [
        name
        for name in differing(settings)
        if all(isinstance(one.get(name), int | float) and not isinstance(one[name], bool) for one in settings)
    ]
    matching = [name for name in known if name == typed or name.endswith(f".{typed}")]
    if len(matching) != 1:
        rest = f"; expected {' or '.join(matching)}" if matching else did_you_mean(typed, [*OVER, *known])
        raise UsageError(f"--over {typed}: expected {', '.join(OVER)} or a number in which runs differ{rest}")
    return matching[0]


def _across(
    runs: Sequence[Run], measured: Sequence[dict[str, Any]], metric: str, split: str, setting: str
) -> list[Curve]:
    """One curve for runs that differ only in the setting, in what follows from it, and in their seeds."""
    settings = [run.settings for run in runs]
    others = [name for name in differing(settings) if not free(name) and name != setting]
    names = _enough(settings, [name for name in others if not _follows(settings, name, setting)])
    short, groups = labels(names), {}
    for one, rows in zip(settings, measured, strict=True):
        values = [value for value in rows[split].get(metric, []) if value is not None]
        if values:
            by_value = groups.setdefault(format_labelled(one, short), {})
            by_value.setdefault(one[setting], []).append(values[-1])
    return [_points(label, split, dict(sorted(by_value.items()))) for label, by_value in groups.items()]


def _follows(settings: Sequence[Mapping[str, Any]], name: str, setting: str) -> bool:
    """Whether runs of one value of `setting` have one value of `name`."""
    pairs = {(one[setting], str(one.get(name))) for one in settings}
    return len(pairs) == len({value for value, _ in pairs})


def _enough(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """The `names` that suffice to distinguish settings, since a legend has little room."""
    kept: list[str] = []
    for name in names:
        if _different(settings, [*kept, name]) > _different(settings, kept):
            kept.append(name)
    return kept


def _different(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    return len({tuple(str(one.get(name)) for name in names) for one in settings})


def _points(label: str, split: str, by_value: Mapping[float, Sequence[float]]) -> Curve:
    counts = [len(values) for values in by_value.values()]
    means, error_P = np.array([np.mean(values) for values in by_value.values()]), None
    if min(counts) > 1:
        error_P = np.array([np.std(values, ddof=1) for values in by_value.values()]) / np.sqrt(counts)
    return Curve(label, split, sum(counts), min(counts), np.array(list(by_value), float), means, error_P)


def _groups(runs: Sequence[Run]) -> list[tuple[str, list[int]]]:
    """(label, indices) of runs that differ only in the seed and in settings without effect on results."""
    settings = [run.settings for run in runs]
    names = _enough(settings, [name for name in differing(settings) if not free(name)])
    short, groups = labels(names), {}
    for at, run in enumerate(runs):
        groups.setdefault(tuple(str(run.settings.get(name)) for name in names), []).append(at)
    return [(format_labelled(runs[members[0]].settings, short), members) for members in groups.values()]


def _curve(
    label: str, split: str, measured: list[dict[str, Any]], metric: str, axis: str, smoothing: float
) -> Curve:
    """The mean curve over the steps that all runs of a group have; tokens and seconds are means too."""
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
