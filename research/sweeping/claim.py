"""Claims the next trial for a worker: one whose worker died, or a new one. One worker at a time may claim."""

import time
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from research.config.space import Point
from research.io.files import catch_write_errors
from research.io.locks import Lock, acquire, exclusive, holder
from research.runs.status import newest_checkpoint
from research.sweeping.directory import log_path, run_directory, study_lock, trial_lock
from research.sweeping.record import Record, read
from research.sweeping.study import seeds
from research.sweeping.study.storage import open_study
from research.sweeping.study.suggest import seed_of, suggest

ATTEMPTS = 5  # worker deaths without a step in between, after which the trial fails
SUSPECT = 2  # … after which it trains alone, so that no other trial fails with it


class Claim(NamedTuple):
    """A trial that belongs to this worker until `lock` is released."""

    trial: optuna.Trial
    point: Point
    directory: Path  # of its run
    log: Path
    lock: Lock
    resumed: bool
    since: float  # by time.monotonic

    @property
    def number(self) -> int:
        return self.trial.number


def claim_trial(record: Record, directory: Path, facts: Mapping[str, Any]) -> Claim | None:
    """Claims the next trial; None if none is left.

    A trial of a dead worker keeps its number, parameters and run directory, so a sweep has exactly the
    declared number of trials, none twice. `facts` describe where this worker runs.
    """
    with catch_write_errors(directory), exclusive(study_lock(directory)):
        now = read(directory)
        record = now if now.study != record.study else record  # values have been added since it was read
        study = open_study(record, directory)
        for known in study.get_trials(deepcopy=False):
            place = trial_lock(directory, known.number)
            if known.state == TrialState.RUNNING and (lock := acquire(place, facts)):
                # Its worker may have ended and released it since the list was read.
                if study.get_trials(deepcopy=False)[known.number].state == TrialState.RUNNING:
                    return _begin(record, directory, optuna.Trial(study, known._trial_id), lock, facts)
                lock.release()
        while _may_begin(record, directory, trials := study.get_trials(deepcopy=False)):
            waiting = any(known.state == TrialState.WAITING for known in trials)
            if record.sweep.seeds > 1 and record.sweep.chosen_sampler != "grid" and not waiting:
                seeds.enqueue(record, directory, study, trials)
            trial = study.ask()
            known = study.get_trials(deepcopy=False)
            if seeds.is_left_out(known[trial.number], known):
                study.tell(trial, state=TrialState.PRUNED)
                continue
            lock = acquire(trial_lock(directory, trial.number), facts)
            assert lock is not None, f"trial {trial.number} is new, and another process holds it"
            return _begin(record, directory, trial, lock, facts)
        return None


def _may_begin(record: Record, directory: Path, trials: list[FrozenTrial]) -> bool:
    """Whether the sweep's budget allows another trial."""
    sweep = record.sweep
    begun = [known for known in trials if known.state != TrialState.WAITING]
    if len(begun) >= sweep.budget or (sweep.chosen_sampler == "grid" and len(begun) == len(trials)):
        return False
    return not hours_used_up(record, directory, begun)


def hours_used_up(record: Record, directory: Path, trials: list[FrozenTrial]) -> bool:
    """Whether the trials trained for the sweep's hours; those of killed workers are unknown and left out."""
    if record.sweep.hours is None:
        return False
    seconds = 0.0
    for trial in trials:
        for attempt in attempts(trial):
            now = time.time() if trial_worker(directory, trial.number) else attempt["began"]
            seconds += (attempt["ended"] or now) - attempt["began"]
    return seconds >= 3_600 * record.sweep.hours


def trial_worker(directory: Path, number: int) -> dict[str, Any] | None:
    """The worker that trains a trial; None if none does."""
    return holder(trial_lock(directory, number))


def attempts(trial: FrozenTrial) -> list[dict[str, Any]]:
    """{"began", "ended" (None: killed, or still training), "step", "host", "devices", …}, one per worker."""
    return trial.user_attrs.get("attempts", [])


def end_attempt(claimed: Claim) -> None:
    """Records how long this worker trained, by a clock that nobody sets."""
    *before, last = claimed.trial.user_attrs["attempts"]
    ended = last["began"] + time.monotonic() - claimed.since
    claimed.trial.set_user_attr("attempts", [*before, last | {"ended": ended}])


def deaths_in_a_row(trial: optuna.Trial) -> int:
    """The number of successive workers that died at the step where the trial now continues."""
    *before, now = trial.user_attrs["attempts"]
    died = (attempt["ended"] is None and attempt["step"] == now["step"] for attempt in reversed(before))
    return sum(1 for _ in takewhile(bool, died))


def _begin(record: Record, directory: Path, trial: optuna.Trial, lock: Lock, facts) -> Claim:
    run, log = run_directory(directory, trial.number), log_path(directory, trial.number)
    point = suggest(trial, record.sweep.space)
    if record.sweep.seeds > 1:
        point["run.seed"] = record.sweep.base.run.seed + seed_of(trial)
    before = trial.user_attrs.get("attempts", [])
    attempt = {"began": time.time(), "ended": None, "step": newest_checkpoint(run)} | dict(facts)
    trial.set_user_attr("settings", point)
    trial.set_user_attr("directory", str(run.relative_to(directory)))
    trial.set_user_attr("attempts", [*before, attempt])
    return Claim(trial, point, run, log, lock, bool(before), time.monotonic())
