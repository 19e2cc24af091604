"""The content of a page or a table about runs, as plain values."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import research
from research.errors import UsageError
from research.reporting.comparison import (
    Metric,
    differing,
    format_labelled,
    labels,
    outcome,
    ranked,
    side_by_side,
)
from research.reporting.groups.summary import has_seeds, seeds_of_runs, summary
from research.reporting.runs import Run, runs_in
from research.reporting.series import LEAST, POINTS, columns, samples
from research.runs import changes
from research.sweeping.directory import is_sweep


def facts(directories: Sequence[Path]) -> dict[str, Any]:
    """Facts about the runs in `directories`. Raises UsageError if there are none."""
    sweep = _the_sweep(directories)
    status, metric = None, Metric()
    if sweep:
        from research.reporting.trials import (  # Optuna is slow to import
            metric_of,
            seeds_of_trials,
            sweep_facts,
            trial_of,
        )
        from research.sweeping.status import sweep_status

        status = sweep_status(sweep)
        metric = metric_of(status)
    runs = _begun(sweep) if sweep else runs_in(directories)
    # Settings that may change within a run do not label it, but the table of settings shows them.
    short = labels([name for name in differing([run.settings for run in runs]) if name not in changes.FREE])
    trials = [trial_of(run, status, sweep) if status else None for run in runs]
    states = [trial.state if trial else run.state for run, trial in zip(runs, trials, strict=True)]
    outcomes = [outcome(run, metric, state) for run, state in zip(runs, states, strict=True)]
    outcomes = ranked(outcomes, metric, finished_only=bool(sweep))
    groups = (
        seeds_of_trials(sweep, status, runs, outcomes) if sweep else seeds_of_runs(runs, outcomes, metric)
    )
    points = max(LEAST, POINTS // max(1, len(runs)))
    return {
        "lineage": research.__version__,
        "made": datetime.now().strftime("%-d %B %Y, %H:%M"),
        "metric": metric._asdict(),
        "title": _title(runs, sweep),
        "subtitle": _subtitle(runs, status),
        "differing": [{"name": name, "label": label} for name, label in short.items()],
        "runs": [
            {
                "name": run.name,
                "note": format_labelled(run.settings, short),
                "outcome": result._asdict(),
                "reason": trial.reason if trial else None,
                **columns(run, points),
                "samples": samples(run),
            }
            for run, trial, result in zip(runs, trials, outcomes, strict=True)
        ],
        "settings": _compared([run.settings for run in runs]),
        "environment": _compared([run.environment for run in runs]),
        "groups": summary(groups, metric, curves=True) if has_seeds(groups) else None,
        "sweep": sweep_facts(sweep, status, runs) if status else None,
    }


def _the_sweep(directories: Sequence[Path]) -> Path | None:
    """The sweep, if it is the only directory; beside other directories, its trials count as runs."""
    return directories[0] if len(directories) == 1 and is_sweep(directories[0]) else None


def _begun(sweep: Path) -> list[Run]:
    """The runs of a sweep's started trials."""
    try:
        return runs_in([sweep])
    except UsageError:
        return []


def _compared(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    different = set(differing(tables))
    return [
        {"name": name, "values": values, "differs": name in different}
        for name, values in side_by_side(tables).items()
    ]


def _title(runs: Sequence[Run], sweep: Path | None) -> str:
    if sweep:
        return sweep.resolve().name
    names = [run.name for run in runs]
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} runs"


def _subtitle(runs: Sequence[Run], status) -> str:
    if status:
        from research.sweeping.notation import format_space

        declared = status.record.sweep
        return f"A sweep of {declared.base.name} over {format_space(declared.space)}"
    declared = dict.fromkeys(str(run.settings.get("name")) for run in runs)
    validated = {run.settings.get("data.validation") for run in runs}
    where = f", validated on {one}" if len(validated) == 1 and (one := validated.pop()) else ""
    return f"{'A run' if len(runs) == 1 else 'Runs'} of {', '.join(declared)}{where}"
