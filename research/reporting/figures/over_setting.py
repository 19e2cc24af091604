"""Final values of runs over a setting: a line if nothing else varies along it, else points."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from research.config import space
from research.errors import UsageError, did_you_mean
from research.reporting.comparison import differing, format_labelled, labels, settings_named
from research.reporting.figures.curves import Curve, different, enough
from research.reporting.groups.counted import SEED, counted, free
from research.reporting.runs import Run
from research.reporting.series import AXES, number
from research.sweeping.directory import is_sweep


class _Roles(NamedTuple):
    """Roles of the differing settings in a figure over one of them."""

    apart: list[str]  # each combination is a curve
    sampled: list[str]  # each point has its own value, so no line joins them
    joined: bool  # whether a line joins the points


def setting_named(typed: str, runs: Sequence[Run]) -> str:
    """The differing numeric setting that `typed` names, in full or by its ending."""
    settings = [run.settings for run in runs]
    known = [name for name in differing(settings) if _numeric(settings, name)]
    matching = settings_named(typed, known)
    if len(matching) != 1:
        rest = f"; expected {' or '.join(matching)}" if matching else did_you_mean(typed, [*AXES, *known])
        raise UsageError(f"--over {typed}: expected {', '.join(AXES)} or a number in which runs differ{rest}")
    return matching[0]


def across(runs: Sequence[Run], metric: str, split: str, setting: str) -> list[Curve]:
    """Final values of runs, one curve for those that differ only in seed, `setting` and its functions.

    No line joins points that also differ in settings that a sampler drew.
    """
    ended = counted(runs, metric, split)
    if not ended:
        return []
    settings = [run.settings for run, _ in ended]
    roles = _roles(settings, setting, _spaces([run for run, _ in ended]))
    short, groups = labels(roles.apart), {}
    for run, value in ended:
        place = (run.settings[setting], *(run.settings.get(name) for name in roles.sampled))
        by_place = groups.setdefault(format_labelled(run.settings, short), {})
        by_place.setdefault(place, []).append(value)
    return [
        _points(label, split, dict(sorted(by_place.items(), key=lambda one: one[0][0])), roles)
        for label, by_place in groups.items()
    ]


def _roles(settings: Sequence[Mapping[str, Any]], setting: str, axes: Mapping[str, space.Axis]) -> _Roles:
    names = [name for name in differing(settings) if not free(name) and name != setting]
    roles = {name: _role(settings, name, setting, axes) for name in names}
    apart, sampled = ([name for name in names if roles[name] == role] for role in ("apart", "sampled"))
    joined = not sampled and not isinstance(axes.get(setting), space.Range)
    return _Roles(enough(settings, apart), sampled, joined)


def _role(
    settings: Sequence[Mapping[str, Any]], name: str, setting: str, axes: Mapping[str, space.Axis]
) -> str:
    """The role of a setting that differs: apart, sampled, or following `setting` as a function of it.

    Settings of a sweep's space and settings that are not numbers follow no other.
    """
    if name in axes or not _numeric(settings, name):
        return "sampled" if isinstance(axes.get(name), space.Range) else "apart"
    if _is_function(settings, name, setting):
        return "following" if _is_supported(settings, name, setting) else "sampled"
    return "apart" if _repeats(settings, name) else "sampled"


def _is_function(settings: Sequence[Mapping[str, Any]], name: str, setting: str) -> bool:
    """Whether runs with equal `setting` have equal `name`."""
    pairs = {(one[setting], str(one.get(name))) for one in settings}
    return len(pairs) == len({value for value, _ in pairs})


def _is_supported(settings: Sequence[Mapping[str, Any]], name: str, setting: str) -> bool:
    """Whether runs with equal `setting` differ elsewhere, so that they could differ in `name` too.

    If each value occurs once, every setting is a function of every other. Seeds of one run are no evidence.
    """
    others = [other for other in differing(settings) if not free(other) and other not in (name, setting)]
    others = [other for other in others if not _is_function(settings, other, setting)]
    return bool(others)


def _repeats(settings: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a value of `name` occurs in runs that differ in more than their seed."""
    names = [other for other in differing(settings) if not free(other)]
    return different(settings, [name]) < different(settings, names)


def _numeric(settings: Sequence[Mapping[str, Any]], name: str) -> bool:
    return all(number(one.get(name)) for one in settings)


def _spaces(runs: Sequence[Run]) -> dict[str, space.Axis]:
    """The axes of the sweeps to which `runs` belong."""
    from research.sweeping.record import read

    sweeps = {run.directory.parent.parent for run in runs if run.directory.parent.name == "trials"}
    spaces = [read(directory).sweep.space for directory in sorted(sweeps) if is_sweep(directory)]
    return {axis.name: axis for one in spaces for axis in space.axes(one) if axis.name != SEED}


def _points(label: str, split: str, by_place: Mapping[tuple, Sequence[float]], roles: _Roles) -> Curve:
    counts = [len(values) for values in by_place.values()]
    means, error_P = np.array([np.mean(values) for values in by_place.values()]), None
    if min(counts) > 1:
        error_P = np.array([np.std(values, ddof=1) for values in by_place.values()]) / np.sqrt(counts)
    x_P = np.array([place[0] for place in by_place], float)
    also = tuple(labels(roles.sampled).values())
    return Curve(label, split, sum(counts), min(counts), x_P, means, error_P, roles.joined, also)
