"""Groups any runs by settings, for `lineage compare`. Imports no JAX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from research.config.settings import override, to_json
from research.config.target import parse
from research.errors import UsageError, did_you_mean
from research.reporting.comparison import ABSENT, Metric, format_value, outcome
from research.reporting.groups.summary import Entry, Group, free, grouped, summary
from research.reporting.runs import Run, runs_in, settings_of
from research.runs.best import LOW_IS_GOOD
from research.runs.target import Reached, reached
from research.sweeping.directory import is_sweep

TO_TARGET = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}  # metrics, by fields of Reached
LISTED = 3  # settings in a refusal


def compare(
    directories: Sequence[Path],
    by: Sequence[str],
    average_over: Sequence[str] = (),
    metric: str = "loss",
    score_by: Literal["last", "best"] = "last",
    target: str | None = None,
) -> dict[str, Any]:
    """A `summary` of the runs in `directories`, grouped by settings.

    `metric` is a validation metric, or steps, tokens or seconds to `target` (default: run.stop_at). Runs of a
    group may differ in their seed and in `average_over`; pairs agree in both. The
    result also has "also": other settings that differ between groups. Raises UsageError for other
    differences inside a group, for repeated runs with different results, and for unknown names.
    """
    entries = [entry for directory in directories for entry in _entries(directory, metric, score_by, target)]
    known = {name for entry in entries for name in entry.settings}
    by, average_over = ([_full(name, known) for name in names] for names in (by, average_over))
    measured = metric in TO_TARGET
    low = measured or metric.endswith(LOW_IS_GOOD)
    _check_metric(entries, metric)
    groups = grouped(entries, by, average_over)
    # A run that stops at a target has another last step.
    others = [n for n in sorted(known) if (n == "run.stop_at" and not measured) or not free(n)]
    others = [name for name in others if name not in by]
    for group in groups:
        _check_inside(group, [name for name in others if name not in average_over])
        _check_repeated(group, average_over)
    shown = Metric(metric, "minimize" if low else "maximize", "target" if measured else score_by)
    first = [group.entries[0].settings for group in groups]
    also = [name for name in others if len({str(one.get(name, ABSENT)) for one in first}) > 1]
    return summary(groups, shown) | {"also": [name for name in also if name not in average_over]}


def _entries(directory: Path, metric: str, score_by: str, target: str | None) -> list[Entry]:
    if not is_sweep(directory):
        return [_entry(run, run.state, metric, score_by, target) for run in runs_in([directory])]
    from research.sweeping.directory import run_directory
    from research.sweeping.status import sweep_status  # Optuna is slow to import

    status = sweep_status(directory)
    runs = {run.directory: run for run in _begun(directory)}
    found = []
    for trial in status.trials:
        run = runs.get(run_directory(directory, trial.number).resolve())
        if run is not None:
            found.append(_entry(run, trial.state, metric, score_by, target))
        elif trial.state != "queued":  # failed before its first row
            settings = settings_of(to_json(override(status.record.sweep.base, trial.settings)))
            found.append(Entry(f"{trial.number:04d}", settings, trial.state, None))
    return [entry._replace(name=f"{directory.name}/{entry.name}") for entry in found]


def _begun(sweep: Path) -> list[Run]:
    try:
        return runs_in([sweep])
    except UsageError:  # no trial has begun
        return []


def _entry(run: Run, state: str, metric: str, score_by: str, target: str | None) -> Entry:
    goal = run.target if target is None else parse(target, "--target")
    met = reached(run.rows, goal)
    settings = run.settings | {"run.stop_at": None if goal is None else str(goal)} if target else run.settings
    if metric in TO_TARGET:
        if goal is None:
            raise UsageError(
                f"--metric {metric}: {run.name} has no run.stop_at; expected --target 'loss<3.28'"
            )
        ended = "finished" if met else "not reached" if state == "finished" else state
        return _made(run, settings, ended, getattr(met, TO_TARGET[metric]) if met else None, met)
    return _made(run, settings, state, getattr(outcome(run, Metric(metric), state), score_by), met)


def _made(
    run: Run, settings: Mapping[str, Any], state: str, value: float | None, met: Reached | None
) -> Entry:
    return Entry(run.name, settings, state, value, met and met._asdict(), run)


def _full(name: str, known: set[str]) -> str:
    """The setting whose name is or ends in `name`; optimizer stands for optimizer.name."""
    ends = [one for one in known if one == name or one.removesuffix(".name").endswith(f".{name}")]
    ends = [name] if name in known else ends or [one for one in known if one == f"{name}.name"]
    if len(ends) != 1:
        which = f"several settings: {', '.join(sorted(ends))}" if ends else "no such setting"
        endings = {one if "." in name else one.rpartition(".")[2] for one in known}
        raise UsageError(f"--by {name}: {which}{'' if ends else did_you_mean(name, endings)}")
    return ends[0]


def _check_metric(entries: Sequence[Entry], metric: str) -> None:
    rows = [row for entry in entries if entry.run for row in entry.run.split("validation")]
    names = {name for row in rows for name, value in row.items() if isinstance(value, float)}
    if metric not in TO_TARGET and rows and metric not in names:
        raise UsageError(f"--metric {metric}: no run has it{did_you_mean(metric, {*names, *TO_TARGET})}")


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


def _check_repeated(group: Group, average_over: Sequence[str]) -> None:
    """Raises UsageError if equal runs have different results, which settings cannot explain."""
    seen: dict[tuple, Entry] = {}
    for entry in group.entries:
        if entry.state != "finished":
            continue
        key = tuple(entry.settings.get(name, ABSENT) for name in ("run.seed", *average_over))
        first = seen.setdefault(key, entry)
        if first.value != entry.value:
            raise UsageError(
                f"{_called(group)}: {first.name} and {entry.name} have equal settings, run.seed={key[0]} "
                f"too, and {first.value:.6g} and {entry.value:.6g}; expected one of them"
            )


def _called(group: Group) -> str:
    return ", ".join(f"{name}={format_value(value)}" for name, value in group.settings.items())
