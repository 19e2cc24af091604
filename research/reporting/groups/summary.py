"""Groups of runs that differ only in their seed: the mean of each, and its difference to the best."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from research.reporting.comparison import ABSENT, Metric, Outcome, differing, format_labelled, labels
from research.reporting.groups.counted import SEED, distinct, free
from research.reporting.groups.entries import Entry
from research.reporting.groups.statistics import Difference, Mean, difference, holm, mean
from research.reporting.runs import Run
from research.reporting.series import finite

LEVEL = 0.05  # of all comparisons together

Values = dict[tuple, float]  # {(seed, …): a run's result}


class Group(NamedTuple):
    settings: dict[str, Any]  # those that tell groups apart
    entries: list[Entry]
    values: Values  # of the finished runs
    left_out: dict[str, int]  # {"failed": 1, …}: runs without a part in the mean


def grouped(entries: Iterable[Entry], by: Sequence[str], paired_by: Sequence[str] = ()) -> list[Group]:
    """Groups of equal values of `by`, in the order of entries; pairs are runs of one seed and `paired_by`."""
    found: dict[tuple, list[Entry]] = {}
    for entry in entries:
        found.setdefault(tuple(entry.settings.get(name, ABSENT) for name in by), []).append(entry)
    return [_group(dict(zip(by, key, strict=True)), some, (SEED, *paired_by)) for key, some in found.items()]


def _group(settings: dict[str, Any], entries: list[Entry], paired_by: Sequence[str]) -> Group:
    values: Values = {}
    left_out: Counter[str] = Counter()
    for entry in entries:
        key = tuple(entry.settings.get(name, ABSENT) for name in paired_by)
        if entry.state != "finished":
            left_out[entry.state] += 1
        elif entry.value is None:
            left_out["not measured"] += 1
        elif key in values:  # a second run with the same seed is not a second sample
            left_out["repeated"] += 1
        else:
            values[key] = entry.value
    return Group(settings, entries, values, dict(left_out))


def has_seeds(groups: Sequence[Group]) -> bool:
    """Whether some group has at least two seeds."""
    return any(len({entry.settings.get(SEED) for entry in group.entries}) > 1 for group in groups)


def ranked(groups: Sequence[Group], direction: str) -> list[Group]:
    """Best mean first; groups whose runs all count before others, groups without a mean last."""

    def place(group: Group) -> tuple:
        middle = mean(list(group.values.values())).mean if group.values else 0.0
        whole = bool(group.values) and not set(group.left_out) - {"repeated"}
        return (
            not whole,
            -len(group.values) if not whole else 0,
            middle if direction == "minimize" else -middle,
        )

    return sorted(groups, key=place)


def summary(groups: Sequence[Group], metric: Metric, curves: bool = False) -> dict[str, Any]:
    """The content of a table of groups, as plain values, best first; differences are to the first.

    {"metric", "by", "lines": [{"note", "settings", "mean", "error", "n", "left_out", "difference", …}], …}.
    With `curves`, each line also has the mean and the standard error at each evaluation.
    """
    ordered = ranked(groups, metric.direction)
    short = labels(list(ordered[0].settings)) if ordered else {}
    best = ordered[0].values if ordered else {}
    apart = [difference(group.values, best) if group.values and best else None for group in ordered[1:]]
    tested = [one for one in apart if one is not None and one.p is not None]
    adjusted = iter(holm([one.p for one in tested if one.p is not None]))
    lines = []
    for group, one in zip(ordered, [None, *apart], strict=False):
        p = next(adjusted) if one is not None and one.p is not None else None
        measured = {"curve": curve(group, metric.name)} if curves else {}
        lines.append(_line(group, one, p, short) | measured)
    if lines and best:
        lines[0]["verdict"] = "best"
    return {
        "metric": metric.name,
        "score_by": metric.score_by,
        "direction": metric.direction,
        "by": [{"name": name, "label": label} for name, label in short.items()],
        "comparisons": len(tested),
        "paired": [one.paired for one in tested],
        "lines": lines,
    }


def _line(
    group: Group, apart: Difference | None, p: float | None, short: Mapping[str, str]
) -> dict[str, Any]:
    middle = mean(list(group.values.values())) if group.values else Mean(0.0, None, 0)
    return {
        "settings": group.settings,
        "note": format_labelled(group.settings, short),
        "runs": [entry.name for entry in group.entries],
        "indices": [entry.index for entry in group.entries if entry.index is not None],
        "mean": middle.mean if middle.n else None,
        "error": middle.error,
        "n": middle.n,
        "left_out": group.left_out,
        "difference": apart and apart._asdict() | {"p_holm": p},
        "verdict": verdict(apart, p),
        "target": _target(group),
    }


def verdict(apart: Difference | None, p: float | None) -> str:
    """The verdict on a difference to the best; empty without a difference."""
    if apart is None:
        return ""
    if apart.holds_zero is None or p is None:
        return "one seed: no interval"
    if apart.holds_zero:
        return "cannot be told apart"
    if apart.certain:
        return "no spread: cannot be tested"
    return "differs" if p < LEVEL else f"differs alone, not with all (Holm's p {p:.2f})"


def _target(group: Group) -> dict[str, Any] | None:
    """Means of steps, tokens and seconds to run.stop_at over the runs that reached it; None without one."""
    once = {id(run) for run in distinct([entry.run for entry in group.entries if entry.run])}
    entries = [entry for entry in group.entries if id(entry.run) in once]
    reached = [entry.reached for entry in entries if entry.reached]
    tried = [entry for entry in entries if entry.reached or entry.settings.get("run.stop_at")]
    if not tried:
        return None
    means = {
        name: mean(known)._asdict()
        if (known := [one[name] for one in reached if one[name] is not None])
        else None
        for name in ("step", "tokens", "seconds")
    }
    return {"reached": len(reached), "of": len(tried)} | means


def seeds_of_runs(runs: Sequence[Run], outcomes: Sequence[Outcome], metric: Metric) -> list[Group]:
    """The groups of runs that differ only in their seed."""
    entries = [
        Entry(
            run.name, run.settings, result.state, getattr(result, metric.score_by), result.reached, run, index
        )
        for index, (run, result) in enumerate(zip(runs, outcomes, strict=True))
    ]
    by = [name for name in differing([run.settings for run in runs]) if not free(name)]
    return grouped(entries, by)


def curve(group: Group, name: str) -> dict[str, list[float | None]] | None:
    """Mean and standard error of a validation number at the steps that all runs of the mean evaluated."""
    runs = [entry.run for entry in group.entries if entry.run is not None and entry.state == "finished"]
    measured = [
        {row["step"]: row[name] for row in run.split("validation") if finite(row.get(name))}
        for run in distinct(runs)
    ]
    if not measured:
        return None
    steps = sorted(set.intersection(*map(set, measured)))
    means = [mean([values[step] for values in measured]) for step in steps]
    return {"step": steps, "mean": [one.mean for one in means], "error": [one.error for one in means]}
