"""Runs and trials to compare, with their settings, states and results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from research.config.settings import to_json
from research.config.target import parse
from research.errors import UsageError
from research.reporting.comparison import Metric, outcome
from research.reporting.runs import Run, begun_in, runs_in, settings_of
from research.reporting.series import AXES
from research.runs.target import reached
from research.runs.wording import Named, alike
from research.sweeping.directory import is_sweep


class Entry(NamedTuple):
    """A run, or a trial that failed before it became one."""

    name: str
    settings: Mapping[str, Any]
    state: str  # as in research.reporting.comparison.Outcome
    value: float | None  # of the metric
    reached: Mapping[str, Any] | None = None  # fields of research.runs.target.Reached
    run: Run | None = None
    index: int | None = None  # of the run in a page
    reason: str | None = None  # of a trial's failure


def entries_of(directories: Sequence[Path], metric: Metric, target: str | None) -> list[Entry]:
    """The runs and trials in `directories`, with one wording for shared files."""
    found = [one for directory in directories for one in _runs(directory)]
    worded = alike([run.files for run, *_ in found])
    return [
        _entry(run._replace(settings=settings), state, metric, target)._replace(reason=reason)
        for (run, state, reason), settings in zip(found, worded, strict=True)
    ]


def _runs(directory: Path) -> list[tuple[Run, str, str | None]]:
    """The runs in a directory, with their states and the reasons of failures.

    A trial that failed before it became a run has no rows.
    """
    if not is_sweep(directory):
        return [(run, run.state, None) for run in runs_in([directory])]
    from research.sweeping.status import sweep_status  # Optuna is slow to import

    status, begun, found = (
        sweep_status(directory),
        {run.directory.name: run for run in begun_in(directory)},
        [],
    )
    base = settings_of(to_json(status.record.sweep.base))
    for trial in status.trials:
        if trial.state != "queued":
            files = Named(base | trial.settings, status.record.paths, ())
            run = begun.get(trial.name) or Run(trial.name, directory, base | trial.settings, {}, [], files)
            found.append((run._replace(name=f"{directory.name}/{run.name}"), trial.state, trial.reason))
    return found


def _entry(run: Run, state: str, metric: Metric, target: str | None) -> Entry:
    goal = run.target if target is None else parse(target, "--target")
    settings = run.settings | {"run.stop_at": str(goal)} if target else run.settings
    met = reached(run.rows, goal)
    if metric.name not in AXES:
        result = outcome(run, metric, state)
        state, value = result.state, getattr(result, metric.score_by)
    elif goal is None:
        raise UsageError(
            f"--metric {metric.name}: {run.name} has no run.stop_at; expected --target 'loss<3.28'"
        )
    else:
        state = "finished" if met else "not reached" if state == "finished" else state
        value = getattr(met, AXES[metric.name]) if met else None
    return Entry(run.name, settings, state, value, met and met._asdict(), run)
