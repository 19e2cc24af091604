"""Which trial a worker does next: one whose worker died, or a new one. One worker at a time may ask."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from research.config.space import Point
from research.io.leases import Lease, exclusive, holder, take
from research.sweeping.record import Record
from research.sweeping.study import open_study
from research.sweeping.suggest import suggest

ATTEMPTS = 5  # without a step between them, after which a trial is thought to kill its workers


class Claim(NamedTuple):
    """A trial that is this worker's until `lease` is released."""

    trial: optuna.Trial
    point: Point
    directory: Path  # of its run
    log: Path
    lease: Lease
    resumed: bool

    @property
    def number(self) -> int:
        return self.trial.number


def claim(record: Record, directory: Path, facts: Mapping[str, Any]) -> Claim | None:
    """The next trial, or None where there is none left to begin.

    A trial of a dead worker stays what it was: its number, its parameters, its run's directory. So a sweep
    has as many trials as it declares, and none twice, whoever died when. `facts` tell what this worker
    works on.
    """
    with exclusive(directory / "leases" / "claim"):
        study = open_study(record, directory)
        trials = study.get_trials(deepcopy=False)
        for known in trials:
            if known.state == TrialState.RUNNING and (lease := take(_lease(directory, known.number), facts)):
                # Its worker may have ended it, and let go of it, since the list was read.
                if study.get_trials(deepcopy=False)[known.number].state == TrialState.RUNNING:
                    return _begin(record, directory, optuna.Trial(study, known._trial_id), lease, facts)
                lease.release()
        begun = [known for known in trials if known.state != TrialState.WAITING]
        queued = len(trials) - len(begun)
        if len(begun) >= record.sweep.budget or (record.sweep.chosen_sampler == "grid" and not queued):
            return None
        if record.sweep.hours is not None and spent(directory, begun) >= 3_600 * record.sweep.hours:
            return None
        trial = study.ask()
        lease = take(_lease(directory, trial.number), facts)
        assert lease is not None, f"trial {trial.number} is new, and somebody holds it"
        return _begin(record, directory, trial, lease, facts)


def at_work(directory: Path, number: int) -> dict[str, Any] | None:
    """Who works on a trial; None if nobody does."""
    return holder(_lease(directory, number))


def attempts(trial: FrozenTrial) -> list[dict[str, Any]]:
    """{"began", "ended" (None: killed, or at it), "step", "host", "devices", …} of each worker it had."""
    return trial.user_attrs.get("attempts", [])


def end_attempt(trial: optuna.Trial) -> None:
    *before, last = trial.user_attrs["attempts"]
    trial.set_user_attr("attempts", [*before, last | {"ended": time.time()}])


def stuck(trial: optuna.Trial) -> bool:
    """Whether the last workers all died of it, at one step."""
    last = trial.user_attrs["attempts"][-ATTEMPTS - 1 :]
    died = [attempt["ended"] is None for attempt in last[:-1]]
    return len(died) == ATTEMPTS and all(died) and len({attempt["step"] for attempt in last}) == 1


def spent(directory: Path, trials: list[FrozenTrial]) -> float:
    """Seconds of training in all trials; what a killed worker did is not known, and left out."""
    total = 0.0
    for trial in trials:
        for attempt in attempts(trial):
            now = time.time() if at_work(directory, trial.number) else attempt["began"]
            total += (attempt["ended"] or now) - attempt["began"]
    return total


def saved_step(run: Path) -> int:
    """Of the newest checkpoint of a run, 0 without one."""
    steps = (path.name for path in (run / "checkpoints").glob("*"))
    return max((int(name) for name in steps if name.isdigit()), default=0)


def run_directory(directory: Path, number: int) -> Path:
    return directory / "trials" / f"{number:04d}"


def log_path(directory: Path, number: int) -> Path:
    return directory / "logs" / f"{number:04d}.log"


def _lease(directory: Path, number: int) -> Path:
    return directory / "leases" / f"{number:04d}"


def _begin(record: Record, directory: Path, trial: optuna.Trial, lease: Lease, facts) -> Claim:
    run, log = run_directory(directory, trial.number), log_path(directory, trial.number)
    point = suggest(trial, record.sweep.space)
    before = trial.user_attrs.get("attempts", [])
    attempt = {"began": time.time(), "ended": None, "step": saved_step(run)} | dict(facts)
    trial.set_user_attr("settings", point)
    trial.set_user_attr("directory", str(run.relative_to(directory)))
    trial.set_user_attr("attempts", [*before, attempt])
    return Claim(trial, point, run, log, lease, resumed=bool(before))
