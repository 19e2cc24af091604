"""A worker: claims trials, trains them, and tells the study how they went, until none is left."""

import gc
import math
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import TrialState

from research.config import Experiment, Sweep
from research.config.settings import override
from research.errors import Diverged, EnvironmentFault, LineageError, UsageError, did_you_mean
from research.io.files import catch_write_errors
from research.runs.metrics_log import Row
from research.sweeping.claim import ATTEMPTS, Claim, claim, end_attempt, saved_step, stuck
from research.sweeping.record import read, refuse_changed_imports

FAILURES = 5  # one after the other, after which the fault is thought to be the sweep's

Train = Callable[..., Any]  # as research.training.loop.train


class Outcome(NamedTuple):
    """How an attempt at a trial ended, without a state where it was stopped; a signal asks to stop."""

    state: TrialState | None = None
    value: float | None = None
    reason: str | None = None
    signal: int | None = None


def work(directory: Path, facts: Mapping[str, Any], say: Callable[[str], None], train: Train) -> int | None:
    """Works on the sweep in `directory` until it has no trial left; the signal that stopped it, if one did.

    What a trial does to itself (a value that does not fit, a loss that is not finite, no memory) fails the
    trial, with its reason, and the next is begun. A fault of the surroundings (a full disk, no storage, an
    import that changed) is raised, and the trial is left to be taken up again.
    """
    refuse_changed_imports(directory, read(directory))
    failures = 0
    while claimed := claim(record := read(directory), directory, facts):
        say(f"trial {claimed.number}  {_begun(claimed)}")
        began = time.perf_counter()
        try:
            outcome = attempt(record.sweep, claimed, train)
            end_attempt(claimed.trial)
            if outcome.state is None:
                say(f"trial {claimed.number}  stopped at step {saved_step(claimed.directory)}; it is saved")
                return outcome.signal
            if outcome.reason:
                claimed.trial.set_user_attr("reason", outcome.reason)
            claimed.trial.study.tell(claimed.trial, outcome.value, outcome.state)
        except optuna.exceptions.StorageInternalError as error:
            reason = " ".join(str(error).split())
            raise EnvironmentFault(f"{directory}: the storage fails: {reason}") from error
        finally:
            claimed.lease.release()
        say(f"trial {claimed.number}  {_ended(record.sweep, outcome)}  ({time.perf_counter() - began:.0f} s)")
        if outcome.signal:
            return outcome.signal
        failures = failures + 1 if outcome.state == TrialState.FAIL else 0
        if failures == FAILURES:
            raise EnvironmentFault(
                f"{directory}: {FAILURES} trials failed one after the other, the last: {outcome.reason}"
            )
    return None


def attempt(sweep: Sweep, claimed: Claim, train: Train) -> Outcome:
    """Starts, or continues, a trial's run."""
    trial = claimed.trial
    if stuck(trial):
        step = saved_step(claimed.directory)
        return _failed(f"{ATTEMPTS} workers died of it after step {step} (out of memory?)")
    if saved_step(claimed.directory) == trial.user_attrs.get("pruned", math.inf):
        return Outcome(TrialState.PRUNED)  # decided and saved, and killed before it was told
    with catch_write_errors(claimed.log):
        claimed.log.parent.mkdir(parents=True, exist_ok=True)
        log = claimed.log.open("a", buffering=1)
    with log, redirect_stdout(log):
        try:
            experiment = override(sweep.base, {"run.stop_on_nan": True} | claimed.point)
            result = train(
                experiment, claimed.directory, print, should_stop=watching(sweep, trial, experiment)
            )
        except Exception as error:
            log.write(traceback.format_exc())
            if isinstance(error, optuna.exceptions.StorageInternalError) or _of_the_surroundings(error):
                end_attempt(trial)
                raise
            return _failed(_told(error))
        finally:
            _forget()
    if result.signal and not result.finished:
        return Outcome(signal=result.signal)
    if "pruned" in trial.user_attrs:
        return Outcome(TrialState.PRUNED)
    return Outcome(TrialState.COMPLETE, _value(sweep, result.validation), signal=result.signal)


def watching(sweep: Sweep, trial: optuna.Trial, experiment: Experiment) -> Callable[[Row], bool]:
    """Reports each evaluation to the study, once, and says whether the pruner has seen enough."""
    reported = set(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)

    def should_stop(row: Row) -> bool:
        step, value = row["step"], _value(sweep, row)
        if step == 0:  # of what is not trained; all are alike
            return False
        if step not in reported:
            trial.report(value, step)
        if "pruned" in trial.user_attrs:  # decided, and killed before the run was saved there
            return step >= trial.user_attrs["pruned"]
        if step == experiment.run.steps or not trial.should_prune():
            return False
        trial.set_user_attr("pruned", step)
        return True

    return should_stop


def _value(sweep: Sweep, row: Row) -> float:
    if sweep.metric not in row:
        known = [name for name, value in row.items() if isinstance(value, float)]
        raise UsageError(
            f"metric={sweep.metric}: not measured at an evaluation{did_you_mean(sweep.metric, known)}"
        )
    if not math.isfinite(row[sweep.metric]):
        raise Diverged(f"step {row['step']}: the validation's {sweep.metric} is {row[sweep.metric]}")
    return row[sweep.metric]


def _of_the_surroundings(error: Exception) -> bool:
    return isinstance(error, EnvironmentFault) and not isinstance(error, Diverged)


def _failed(reason: str) -> Outcome:
    return Outcome(TrialState.FAIL, reason=reason)


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, LineageError):
        return text
    if "RESOURCE_EXHAUSTED" in text or isinstance(error, MemoryError):
        return f"out of memory: {text[:300]}"
    return f"{type(error).__name__}: {text[:300]}"


def _forget() -> None:
    """Gives the trial's memory back: its arrays, and the programs compiled for its shapes."""
    import jax

    gc.collect()
    jax.clear_caches()


def _begun(claimed: Claim) -> str:
    if claimed.resumed:
        return f"taken up again at step {saved_step(claimed.directory)}"
    return "  ".join(f"{name}={_short(value)}" for name, value in claimed.point.items())


def _ended(sweep: Sweep, outcome: Outcome) -> str:
    match outcome.state:
        case TrialState.COMPLETE:
            return f"finished  {sweep.metric} {outcome.value:.4f}"
        case TrialState.PRUNED:
            return "pruned"
        case _:
            return f"failed  {outcome.reason}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
