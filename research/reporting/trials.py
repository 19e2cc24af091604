"""The content of a sweep's page: trials, varied settings and their importance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from research.config.space import names
from research.reporting.comparison import ABSENT, Metric, Outcome, format_labelled, labels
from research.reporting.groups.summary import SEED, Entry, Group, grouped
from research.reporting.importance import importance, logarithmic
from research.reporting.runs import Run
from research.reporting.series import number
from research.sweeping.notation import format_space
from research.sweeping.status import SweepStatus
from research.sweeping.study.storage import load_study

SPREAD = 10  # an axis is logarithmic if its largest value is at least this many times its smallest


def metric_of(status: SweepStatus) -> Metric:
    sweep = status.record.sweep
    return Metric(sweep.metric, sweep.chosen_direction, score_by="last")  # as in the study


def seeds_of_trials(
    status: SweepStatus, runs: Sequence[Run] = (), outcomes: Sequence[Outcome] = ()
) -> list[Group]:
    """The groups of trials that differ only in their seed, with those that failed before their first row.

    With the runs and their outcomes, groups also have curves and targets.
    """
    base, space = status.record.sweep.base, names(status.record.sweep.space)
    common = {SEED: base.run.seed, "run.stop_at": base.run.stop_at}
    indices, entries = _indices(runs), []
    for trial in status.trials:
        index = indices.get(trial.name)
        run, reached = (None, None) if index is None else (runs[index], outcomes[index].reached)
        if trial.state != "queued":
            settings = common | trial.settings
            entries.append(Entry(trial.name, settings, trial.state, trial.value, reached, run, index))
    return grouped(entries, [name for name in space if name != SEED and _varies(name, status)])


def _indices(runs: Sequence[Run]) -> dict[str, int]:
    """The index of each trial's run, by the trial's name."""
    return {run.directory.name: index for index, run in enumerate(runs)}


def _varies(name: str, status: SweepStatus) -> bool:
    return len({trial.settings.get(name) for trial in status.trials}) > 1


def sweep_facts(directory: Path, status: SweepStatus, runs: Sequence[Run]) -> dict[str, Any]:
    sweep = status.record.sweep
    short = labels([name for name in names(sweep.space) if _varies(name, status)])
    indices = _indices(runs)
    return {
        "name": sweep.name,
        "base": sweep.base.name,
        "space": format_space(sweep.space),
        "budget": sweep.budget,
        "seeds": sweep.seeds,
        "sampler": sweep.chosen_sampler,
        "pruner": sweep.pruner,
        "counts": {state: count for state, count in status.counts.items() if count},
        "best": status.best,
        "trials": [
            {
                "number": trial.number,
                "point": trial.point,
                "name": trial.name,
                "run": indices.get(trial.name),
                "state": trial.state,
                "value": trial.value,
                "settings": trial.settings,
                "steps": trial.steps,
                "note": format_labelled(trial.settings, short),
                "reason": trial.reason,
            }
            for trial in status.trials
        ],
    } | _searched(directory, status, short, runs)


def _searched(
    directory: Path, status: SweepStatus, short: Mapping[str, str], runs: Sequence[Run]
) -> dict[str, Any]:
    """The varied settings with their values, and their importance, or the reason why there is none."""
    if not status.trials:
        return {"parameters": [], "importance": [], "why": "No trial has started."}
    study = load_study(status.record, directory)
    by_logarithm, found = logarithmic(study), importance(study)
    parameters = []
    for name, label in short.items():
        values = [run.settings.get(name, ABSENT) for run in runs]
        log = by_logarithm.get(name, False) or _spread(values)
        parameters.append({"name": name, "label": label, "values": values, "logarithmic": log})
    shares, why = ([], found) if isinstance(found, str) else (found, "")
    return {"parameters": parameters, "importance": shares, "why": why}


def _spread(values: list[Any]) -> bool:
    """Whether all values are positive numbers that span at least a factor of SPREAD."""
    return bool(values) and all(map(number, values)) and 0 < min(values) * SPREAD <= max(values)
