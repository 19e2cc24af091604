"""How a sweep stands: each trial's state and numbers, as the study and the runs tell them."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from research.config.settings import override
from research.runs.metrics_log import read as read_rows
from research.sweeping.claim import at_work, log_path, run_directory
from research.sweeping.record import Record, read
from research.sweeping.study import load_study

STATES = ("finished", "pruned", "failed", "running", "stopped", "queued")  # stopped: to be taken up again
NAMES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


class Trial(NamedTuple):
    """A trial as it stands. Numbers are None where there is none yet."""

    number: int
    state: str  # of STATES
    settings: dict[str, Any]
    value: float | None
    step: int
    steps: int
    loss: float | None  # of training, last logged
    tokens_per_second: float | None
    seconds_left: float | None
    worker: str | None  # HOST:PID
    reason: str | None
    log: list[str]  # its last lines, of one that failed


class SweepStatus(NamedTuple):
    record: Record
    trials: list[Trial]
    best: int | None  # its number, as the storage says

    @property
    def counts(self) -> dict[str, int]:
        """Trials in each state; what is not begun yet is queued."""
        counted = Counter(trial.state for trial in self.trials)
        counted["queued"] += max(0, self.record.sweep.budget - len(self.trials))
        return {state: counted[state] for state in STATES}

    @property
    def over(self) -> bool:
        return not any(self.counts[state] for state in ("running", "stopped", "queued"))


def sweep_status(directory: Path) -> SweepStatus:
    record = read(directory)
    try:
        study = load_study(record, directory)
    except KeyError:  # declared, and no worker has begun
        return SweepStatus(record, [], None)
    trials = [_trial(record, directory, trial) for trial in study.get_trials(deepcopy=False)]
    return SweepStatus(record, trials, best(study))


def best(study: optuna.Study) -> int | None:
    finished = any(trial.state == TrialState.COMPLETE for trial in study.get_trials(deepcopy=False))
    return study.best_trial.number if finished else None


def progress_of(run: Path, steps: int) -> dict[str, Any]:
    """A run's step, loss, speed and seconds left, by its rows."""
    rows = [row for row in read_rows(run) if row["split"] == "train"]
    if not rows:
        return {"step": 0, "loss": None, "tokens_per_second": None, "seconds_left": None}
    last = rows[-1]
    a_step = last["seconds"] / last["step"]
    return {
        "step": last["step"],
        "loss": last["loss"],
        "tokens_per_second": last["tokens_per_second"],
        "seconds_left": round(a_step * (steps - last["step"]), 1),
    }


def _trial(record: Record, directory: Path, trial: FrozenTrial) -> Trial:
    settings = trial.user_attrs.get("settings", trial.system_attrs.get("fixed_params", {}))
    worker = at_work(directory, trial.number) if trial.state == TrialState.RUNNING else None
    if trial.state == TrialState.WAITING:
        state = "queued"
    else:
        state = NAMES.get(trial.state, "running" if worker else "stopped")
    steps = override(record.sweep.base, {k: v for k, v in settings.items() if k == "run.steps"}).run.steps
    progress = progress_of(run_directory(directory, trial.number), steps)
    if state != "running":
        progress["seconds_left"] = None
    return Trial(
        number=trial.number,
        state=state,
        settings=settings,
        value=trial.value if state == "finished" else _last(trial),
        steps=steps,
        worker=f"{worker['host']}:{worker['pid']}" if worker else None,
        reason=trial.user_attrs.get("reason"),
        log=_tail(log_path(directory, trial.number)) if state == "failed" else [],
        **progress,
    )


def _last(trial: FrozenTrial) -> float | None:
    """The value at the last evaluation."""
    return trial.intermediate_values[trial.last_step] if trial.intermediate_values else None


def _tail(path: Path, lines: int = 5) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
