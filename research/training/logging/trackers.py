"""The trackers of a run, beside metrics.jsonl: those of `run.trackers`, and W&B with `run.wandb`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research.config import Run
from research.config.names import TRACKERS
from research.errors import UsageError
from research.runs.metrics_log import Receiver
from research.runs.status import has_begun
from research.training.logging import tensorboard, weights_and_biases
from research.training.logging.in_thread import InThread
from research.training.logging.tracker import TrackedRun, Tracker, names_of

BUILT_IN = (tensorboard, weights_and_biases)  # imported to be registered


def check(run: Run) -> None:
    """Raises EnvironmentFault for a missing package of a tracker. Call it before preparing data."""
    for kind in _kinds(run).values():
        kind.check()


def open_trackers(run: Run, settings: Mapping[str, Any], directory: Path, step: int) -> list[Receiver]:
    """Opens the trackers of a run that starts or continues after `step`, before its log is opened.

    `settings` are all settings of the run, flat: {"model.width": 768, …}.
    """
    facts = TrackedRun(directory, *names_of(directory), settings, step, run.steps)
    new, opened = not has_begun(directory), []
    try:
        for name, kind in _kinds(run).items():
            opened.append(InThread(name, kind, facts, new))
    except BaseException:
        for one in opened:
            one.close(failed=True)
        raise
    return opened


def _kinds(run: Run) -> dict[str, type[Tracker]]:
    """By name, each once."""
    kinds = {name: TRACKERS[name] for name in (*run.trackers, *(("wandb",) if run.wandb else ()))}
    for name, kind in kinds.items():
        if not (isinstance(kind, type) and issubclass(kind, Tracker)):
            raise UsageError(
                f"run.trackers={name}: {kind!r}; expected a class derived from {Tracker.__module__}.Tracker"
            )
    return kinds
