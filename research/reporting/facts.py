"""The content of a page or a table about runs, as plain values."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import research
from research.reporting.comparison import (
    Metric,
    Outcome,
    differing,
    format_labelled,
    labels,
    outcome,
    ranked,
    side_by_side,
)
from research.reporting.groups.summary import Group, has_seeds, seeds_of_runs, summary
from research.reporting.groups.table import cells, header, notes
from research.reporting.runs import Run, begun_in, runs_in
from research.reporting.series import LEAST, POINTS, columns, samples
from research.runs import changes
from research.sweeping.directory import is_sweep


def facts(directories: Sequence[Path]) -> dict[str, Any]:
    """Facts about the runs in `directories`. Raises UsageError if there are none.

    A sweep that is the only directory has facts of its own; beside other directories, its trials are runs.
    """
    if len(directories) == 1 and is_sweep(directories[0]):
        return _of_sweep(directories[0])
    runs, metric = runs_in(directories), Metric()
    outcomes = [outcome(run, metric, run.state) for run in runs]
    outcomes = ranked(outcomes, metric, finished_only=False)
    about = {"title": _title(runs), "subtitle": _subtitle(runs), "sweep": None}
    return about | _of_runs(runs, outcomes, metric, seeds_of_runs(runs, outcomes, metric))


def _of_sweep(sweep: Path) -> dict[str, Any]:
    from research.reporting.trials import metric_of, seeds_of_trials, sweep_facts  # Optuna is slow to import
    from research.sweeping.notation import format_space
    from research.sweeping.status import sweep_status

    status, runs = sweep_status(sweep), begun_in(sweep)
    metric, declared, by_name = metric_of(status), status.record.sweep, {t.name: t for t in status.trials}
    trials = [by_name.get(run.directory.name) for run in runs]  # None for one that began just now
    states = [trial.state if trial else run.state for run, trial in zip(runs, trials, strict=True)]
    outcomes = [outcome(run, metric, state) for run, state in zip(runs, states, strict=True)]
    outcomes = ranked(outcomes, metric, finished_only=True)
    found = _of_runs(runs, outcomes, metric, seeds_of_trials(status, runs, outcomes))
    for trial, one in zip(trials, found["runs"], strict=True):
        one["reason"] = trial.reason if trial else None
    return found | {
        "title": sweep.resolve().name,
        "subtitle": f"A sweep of {declared.base.name} over {format_space(declared.space)}",
        "sweep": sweep_facts(sweep, status, runs),
    }


def _of_runs(
    runs: Sequence[Run], outcomes: Sequence[Outcome], metric: Metric, groups: Sequence[Group]
) -> dict[str, Any]:
    """What the pages of runs and of a sweep share."""
    # Settings that may change within a run do not label it, but the table of settings shows them.
    short = labels([name for name in differing([run.settings for run in runs]) if name not in changes.FREE])
    points = max(LEAST, POINTS // max(1, len(runs)))
    seeds = summary(groups, metric, curves=True) if has_seeds(groups) else None
    return {
        "lineage": research.__version__,
        "made": datetime.now().strftime("%-d %B %Y, %H:%M"),
        "metric": metric._asdict(),
        "differing": [{"name": name, "label": label} for name, label in short.items()],
        "runs": [
            {
                "name": run.name,
                "note": format_labelled(run.settings, short),
                "outcome": result._asdict(),
                "reason": None,
                **columns(run, points),
                "samples": samples(run),
            }
            for run, result in zip(runs, outcomes, strict=True)
        ],
        "settings": _compared([run.settings for run in runs]),
        "environment": _compared([run.environment for run in runs]),
        "groups": seeds and seeds | {"header": header(seeds), "cells": cells(seeds), "notes": notes(seeds)},
    }


def _compared(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    different = set(differing(tables))
    return [
        {"name": name, "values": values, "differs": name in different}
        for name, values in side_by_side(tables).items()
    ]


def _title(runs: Sequence[Run]) -> str:
    names = [run.name for run in runs]
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} runs"


def _subtitle(runs: Sequence[Run]) -> str:
    declared = dict.fromkeys(str(run.settings.get("name")) for run in runs)
    validated = {run.settings.get("data.validation") for run in runs}
    where = f", validated on {one}" if len(validated) == 1 and (one := validated.pop()) else ""
    return f"{'A run' if len(runs) == 1 else 'Runs'} of {', '.join(declared)}{where}"
