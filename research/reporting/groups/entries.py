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
from research.runs.target import Reached, reached
from research.runs.wording import NAMES, Named, alike
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
    files: Named = Named({}, {}, ())


def entries_of(directories: Sequence[Path], metric: Metric, target: str | None) -> list[Entry]:
    """The runs and trials in `directories`, with one wording for shared files."""
    found = [entry for directory in directories for entry in _entries(directory, metric, target)]
    worded = alike([entry.files for entry in found])
    return [
        entry._replace(settings={**entry.settings, **{name: one[name] for name in NAMES if name in one}})
        for entry, one in zip(found, worded, strict=True)
    ]


def _entries(directory: Path, metric: Metric, target: str | None) -> list[Entry]:
    if not is_sweep(directory):
        return [_entry(run, run.state, metric, target) for run in runs_in([directory])]
    from research.sweeping.directory import run_directory
    from research.sweeping.status import sweep_status  # Optuna is slow to import

    status = sweep_status(directory)
    runs, found = {run.directory: run for run in begun_in(directory)}, []
    for trial in status.trials:
        run = runs.get(run_directory(directory, trial.number).resolve())
        if run is not None:
            found.append(_entry(run, trial.state, metric, target))
        elif trial.state != "queued":  # failed before its first row, perhaps because its settings do not fit
            settings = settings_of(to_json(status.record.sweep.base)) | trial.settings
            files = Named(settings, status.record.paths, ())
            found.append(Entry(f"{trial.number:04d}", settings, trial.state, None, files=files))
    return [entry._replace(name=f"{directory.name}/{entry.name}") for entry in found]


def _entry(run: Run, state: str, metric: Metric, target: str | None) -> Entry:
    goal = run.target if target is None else parse(target, "--target")
    met = reached(run.rows, goal)
    settings = run.settings | {"run.stop_at": None if goal is None else str(goal)} if target else run.settings
    if metric.name not in AXES:
        result = outcome(run, metric, state)
        return _made(run, settings, result.state, getattr(result, metric.score_by), met)
    if goal is None:
        raise UsageError(
            f"--metric {metric.name}: {run.name} has no run.stop_at; expected --target 'loss<3.28'"
        )
    ended = "finished" if met else "not reached" if state == "finished" else state
    return _made(run, settings, ended, getattr(met, AXES[metric.name]) if met else None, met)


def _made(
    run: Run, settings: Mapping[str, Any], state: str, value: float | None, met: Reached | None
) -> Entry:
    return Entry(run.name, settings, state, value, met and met._asdict(), run, files=run.files)
