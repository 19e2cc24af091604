"""A sweep as its page shows it: every trial, what was varied, and what of that mattered."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research.config.space import names
from research.reporting.comparison import ABSENT, Metric, labels, noted
from research.reporting.importance import importance, logarithmic
from research.reporting.runs import Run
from research.sweeping.claim import run_directory
from research.sweeping.record import describe
from research.sweeping.status import SweepStatus, Trial
from research.sweeping.study import load_study

SPREAD = 10  # times the least of a list of numbers is its largest, from which an axis is logarithmic


def metric_of(sweep_status: SweepStatus) -> Metric:
    sweep = sweep_status.record.sweep
    return Metric(sweep.metric, sweep.direction, judged="last")  # as a trial is in its study


def trial_of(run: Run, sweep_status: SweepStatus, directory: Path) -> Trial | None:
    """The trial whose run it is."""
    at = {run_directory(directory, trial.number).resolve(): trial for trial in sweep_status.trials}
    return at.get(run.directory)


def sweep_facts(directory: Path, sweep_status: SweepStatus, runs: Sequence[Run]) -> dict[str, Any]:
    sweep = sweep_status.record.sweep
    varied = [
        name
        for name in names(sweep.space)
        if len({trial.settings.get(name) for trial in sweep_status.trials}) > 1
    ]
    short = labels(varied)
    indices = {run.directory: index for index, run in enumerate(runs)}
    facts: dict[str, Any] = {
        "name": sweep.name,
        "base": sweep.base.name,
        "space": describe(sweep.space),
        "budget": sweep.budget,
        "sampler": sweep.chosen_sampler,
        "pruner": sweep.pruner,
        "counts": {state: count for state, count in sweep_status.counts.items() if count},
        "best": sweep_status.best,
        "trials": [
            {
                "number": trial.number,
                "name": f"{trial.number:04d}",
                "run": indices.get(run_directory(directory, trial.number).resolve()),
                "state": trial.state,
                "value": trial.value,
                "note": noted(trial.settings, short),
                "reason": trial.reason,
            }
            for trial in sweep_status.trials
        ],
        "parameters": [],
        "importance": [],
        "why": "No trial has begun.",
    }
    if sweep_status.trials:
        study = load_study(sweep_status.record, directory)
        by_logarithm = logarithmic(study)
        for name, label in short.items():
            values = [run.settings.get(name, ABSENT) for run in runs]
            log = by_logarithm.get(name, False) or _spread(values)
            facts["parameters"].append({"name": name, "label": label, "values": values, "logarithmic": log})
        found = importance(study)
        facts |= (
            {"importance": [], "why": found} if isinstance(found, str) else {"importance": found, "why": ""}
        )
    return facts


def _spread(values: list[Any]) -> bool:
    """Whether they are numbers of several magnitudes."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return bool(numbers) and len(numbers) == len(values) and 0 < min(numbers) * SPREAD <= max(numbers)
