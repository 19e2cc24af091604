"""The status of a sweep: each trial's state and numbers, from the study and from the runs."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from research.config.settings import override
from research.runs.status import progress
from research.sweeping.claim import hours_used_up, trial_worker
from research.sweeping.common_failure import common_failure
from research.sweeping.directory import log_path, run_directory
from research.sweeping.record import Record, read
from research.sweeping.study.database import storage_faults
from research.sweeping.study.seeds import best_point, by_point
from research.sweeping.study.storage import load_study
from research.sweeping.study.suggest import point_of

STATES = ("finished", "pruned", "failed", "running", "stopped", "queued")  # stopped: to be resumed
NAMES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


class Trial(NamedTuple):
    """The status of a trial. Numbers are None before they are measured."""

    number: int
    point: int  # its number, which the trials of its seeds share
    state: str  # of STATES
    settings: dict[str, Any]
    value: float | None  # the sweep's metric at the last evaluation
    step: int
    steps: int  # as declared
    loss: float | None  # last logged, of training
    tokens_per_second: float | None
    seconds_left: float | None
    worker: str | None  # HOST:PID
    reason: str | None
    log: list[str]  # last lines, of a trial that failed

    @property
    def name(self) -> str:
        """The name of its run's directory."""
        return f"{self.number:04d}"


class SweepStatus(NamedTuple):
    record: Record
    trials: list[Trial]
    best: int | None  # number of the study's best trial; with several seeds, the first trial of the best mean
    hours_used_up: bool = False  # then no other trial begins
    common_failure: str | None = None  # reason why all trials fail, whatever their values

    @property
    def counts(self) -> dict[str, int]:
        """Trials in each state; the rest of the budget is queued."""
        counted = Counter(trial.state for trial in self.trials if trial.state != "queued")
        counted["queued"] = max(0, self.record.sweep.budget - counted.total())
        return {state: counted[state] for state in STATES}

    @property
    def total(self) -> int:
        """The budget, or the number of trials begun if that is larger."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """Trials that finished, were pruned or failed."""
        return sum(self.counts[state] for state in ("finished", "pruned", "failed"))

    @property
    def work(self) -> float:
        """Trials done; running trials count by the share of their steps."""
        begun = (trial for trial in self.trials if trial.state in ("running", "stopped"))
        return self.ended + sum(trial.step / trial.steps for trial in begun)

    @property
    def over(self) -> bool:
        """Whether no trial is left to resume or begin; none begins once the sweep's hours are used up."""
        resumed = self.counts["running"] or self.counts["stopped"]
        return not resumed and (self.hours_used_up or not self.counts["queued"])


def sweep_status(directory: Path) -> SweepStatus:
    record = read(directory)
    with storage_faults(str(directory)):
        try:
            study = load_study(record, directory)
        except KeyError:  # no worker has begun
            return SweepStatus(record, [], None)
        known = study.get_trials(deepcopy=False)
        trials = [_trial(record, directory, trial) for trial in known]
        used_up = hours_used_up(record, directory, known)
        failure = common_failure(record.sweep.space, directory, known)
        return SweepStatus(record, trials, _best(record, known), used_up, failure)


def _best(record: Record, trials: list[FrozenTrial]) -> int | None:
    best = best_point(trials, record.sweep)
    return None if best is None else by_point(trials)[best][0].number


def _trial(record: Record, directory: Path, trial: FrozenTrial) -> Trial:
    settings = trial.user_attrs.get("settings", trial.system_attrs.get("fixed_params", {}))
    worker = trial_worker(directory, trial.number) if trial.state == TrialState.RUNNING else None
    if trial.state == TrialState.WAITING:
        state = "queued"
    else:
        state = NAMES.get(trial.state, "running" if worker else "stopped")
    steps = override(record.sweep.base, {k: v for k, v in settings.items() if k == "run.steps"}).run.steps
    now = progress(run_directory(directory, trial.number), steps)
    if state != "running":
        now = now._replace(seconds_left=None)
    return Trial(
        number=trial.number,
        point=point_of(trial),
        state=state,
        settings=settings,
        value=trial.value if state == "finished" else _last(trial),
        steps=steps,
        worker=f"{worker['host']}:{worker['pid']}" if worker else None,
        reason=trial.user_attrs.get("reason"),
        log=_tail(log_path(directory, trial.number)) if state == "failed" else [],
        **now._asdict(),
    )


def _last(trial: FrozenTrial) -> float | None:
    """The value at the last evaluation."""
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def _tail(path: Path, lines: int = 5) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
