"""Groups any runs by settings, for `lineage compare`. Imports no JAX."""

from collections.abc import Sequence
from math import isclose
from pathlib import Path
from typing import Any, Literal

from research.config.target import Direction, direction_of
from research.errors import UsageError, did_you_mean
from research.reporting.comparison import ABSENT, Metric, format_value, settings_named
from research.reporting.groups.counted import SEED, free
from research.reporting.groups.entries import Entry, entries_of
from research.reporting.groups.summary import Group, grouped, summary
from research.reporting.series import AXES

LISTED = 3  # settings in a refusal
ROUNDING = 1e-4  # relative difference of results that another number of cores explains


def compare(
    directories: Sequence[Path],
    by: Sequence[str],
    average_over: Sequence[str] = (),
    metric: str = "loss",
    score_by: Literal["last", "best"] = "last",
    target: str | None = None,
    direction: str | None = None,
) -> dict[str, Any]:
    """A `summary` of the runs in `directories`, grouped by settings.

    `metric` is a validation metric, or steps, tokens or seconds to `target` (default: run.stop_at). Runs of a
    group may differ in their seed and in `average_over`; pairs agree in both. The result also has "also",
    other settings that differ between groups, and "failed", {trial: reason}. Raises UsageError for other
    differences inside a group, for repeated runs with different results, and for unknown names.
    """
    measured = metric in AXES
    way = _direction(metric, direction)
    shown = Metric(metric, way or "minimize", "target" if measured else score_by)
    entries = entries_of(directories, shown, target)
    known = {name for entry in entries for name in entry.settings}
    by, average_over = ([_full(name, known) for name in names] for names in (by, average_over))
    _check_metric(entries, metric)
    if way is None:
        raise UsageError(f"--metric {metric}: expected --direction minimize or maximize beside it")
    # A run that stops at a target has another last step.
    counting = [n for n in sorted(known) if (n == "run.stop_at" and not measured) or not free(n)]
    paired_by = [name for name in average_over if name in counting]
    groups = grouped(entries, by, paired_by)
    others = [name for name in counting if name not in by]
    for group in groups:
        _check_inside(group, [name for name in others if name not in average_over])
        _check_repeated(group, paired_by)
    first = [group.entries[0].settings for group in groups]
    also = [name for name in others if len({str(one.get(name, ABSENT)) for one in first}) > 1]
    return summary(groups, shown) | {
        "also": [name for name in also if name not in average_over],
        "failed": {entry.name: entry.reason for entry in entries if entry.state == "failed"},
    }


def _direction(metric: str, typed: str | None) -> Direction | None:
    match typed:
        case "minimize" | "maximize":
            return typed
        case None:
            return "minimize" if metric in AXES else direction_of(metric)
    raise UsageError(f"--direction {typed}: expected minimize or maximize")


def _full(name: str, known: set[str]) -> str:
    ends = settings_named(name, known)
    if len(ends) != 1:
        which = f"several settings: {', '.join(sorted(ends))}" if ends else "no such setting"
        endings = {one if "." in name else one.rpartition(".")[2] for one in known}
        raise UsageError(f"--by {name}: {which}{'' if ends else did_you_mean(name, endings)}")
    return ends[0]


def _check_metric(entries: Sequence[Entry], metric: str) -> None:
    rows = [row for entry in entries if entry.run for row in entry.run.split("validation")]
    names = {name for row in rows for name, value in row.items() if isinstance(value, float)}
    if metric not in AXES and rows and metric not in names:
        raise UsageError(f"--metric {metric}: no run has it{did_you_mean(metric, {*names, *AXES})}")


def _check_inside(group: Group, names: Sequence[str]) -> None:
    different = {}
    for name in names:
        values = dict.fromkeys(format_value(entry.settings.get(name, ABSENT)) for entry in group.entries)
        if len(values) > 1:
            different[name] = ", ".join(list(values)[:LISTED]) + (", …" if len(values) > LISTED else "")
    if different:
        shown = list(different)[:LISTED]
        listed = ", ".join(f"{name} ({different[name]})" for name in shown)
        more = "" if len(different) == len(shown) else f" and {len(different) - len(shown)} more"
        raise UsageError(
            f"{_called(group)}: its runs also differ in {listed}{more}; "
            f"expected them in --by or in --average-over {','.join(different)}"
        )


def _check_repeated(group: Group, paired_by: Sequence[str]) -> None:
    """Raises UsageError if runs with equal settings have results that differ by more than rounding.

    Settings that change rounding, such as those of devices, may explain more; then the first counts too.
    """
    seen: dict[tuple, tuple[Entry, float]] = {}
    for entry in group.entries:
        if entry.state != "finished" or entry.value is None:
            continue
        key = tuple(entry.settings.get(name, ABSENT) for name in (SEED, *paired_by))
        first, value = seen.setdefault(key, (entry, entry.value))
        rounding = [name for name in {**first.settings, **entry.settings} if _rounds(name)]
        alike = all(first.settings.get(name) == entry.settings.get(name) for name in rounding)
        if alike and not isclose(value, entry.value, rel_tol=ROUNDING):
            raise UsageError(
                f"{_called(group)}: {first.name} and {entry.name} have equal settings, run.seed={key[0]} "
                f"too, and {value:.6g} and {entry.value:.6g}; expected one of them"
            )


def _rounds(name: str) -> bool:
    """Whether a setting changes the rounding of results."""
    other = ("run.hyperparameters", "run.steps_per_call", "data.workers")
    return free(name) and (name in other or name.startswith(("parallel.", "model.")))


def _called(group: Group) -> str:
    return ", ".join(f"{name}={format_value(value)}" for name, value in group.settings.items())
