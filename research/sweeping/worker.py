"""A worker: claims trials, trains them and reports their results to the study, until none is left."""

import gc
import math
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import TrialState

from research.config import Experiment, Run, Sweep
from research.errors import Diverged, EnvironmentFault, LineageError, UsageError, did_you_mean
from research.io.files import catch_write_errors
from research.runs import record as runs
from research.runs.metrics_log import Row
from research.runs.status import newest_checkpoint
from research.sweeping.claim import ATTEMPTS, Claim, claim_trial, end_attempt, kills_its_workers
from research.sweeping.database import storage_faults
from research.sweeping.notation import format_settings
from research.sweeping.record import base_of, read, refuse_changed_imports
from research.sweeping.seeds import is_left_out
from research.sweeping.study import seed_of
from research.training.shared_program import NeedsConstants
from research.training.stopping.interrupts import on_leave
from research.weights.adopt import with_start

FAILURES = 5  # points whose trials failed one after the other, after which the sweep itself is blamed

Train = Callable[..., Any]  # research.training.loop.train, or a test's substitute


class Outcome(NamedTuple):
    """Outcome of a worker's attempt at a trial."""

    state: TrialState | None = None  # None: it was stopped, and will be resumed
    value: float | None = None
    reason: str | None = None
    signal: int | None = None  # that asked the worker to stop


def work(
    directory: Path, facts: Mapping[str, Any], report: Callable[[str], None], train: Train
) -> int | None:
    """Trains trials of the sweep in `directory` until none is left; returns the signal that stopped it.

    A trial whose own settings break it (a value that does not fit, a loss that is not finite, too little
    memory) fails with its reason, and the next one begins. A fault of the environment (a full disk, no
    storage, a changed import) is raised, and the trial stays to be resumed.
    """
    with storage_faults(str(directory)):
        return _work(directory, facts, report, train)


def _work(directory: Path, facts: Mapping[str, Any], report: Callable[[str], None], train: Train):
    refuse_changed_imports(directory, read(directory))
    failures: set[int] = set()  # points
    while claimed := claim_trial(record := read(directory), directory, facts):
        report(f"trial {claimed.number}  {_describe_start(claimed)}")
        began = time.perf_counter()
        try:
            outcome = attempt(replace(record.sweep, base=base_of(record)), claimed, train)
            end_attempt(claimed.trial)
            if outcome.state is None:
                step = newest_checkpoint(claimed.directory)
                report(f"trial {claimed.number}  stopped; saved at step {step}")
                return outcome.signal
            if outcome.reason:
                claimed.trial.set_user_attr("reason", outcome.reason)
            claimed.trial.study.tell(claimed.trial, outcome.value, outcome.state)
        finally:
            claimed.lock.release()
        seconds = time.perf_counter() - began
        report(f"trial {claimed.number}  {_describe_end(record.sweep, outcome)}  ({seconds:.0f} s)")
        if outcome.signal:
            return outcome.signal
        failures = failures | {claimed.point_number} if outcome.state == TrialState.FAIL else set()
        if len(failures) == FAILURES:  # of one point, all seeds may fail
            raise EnvironmentFault(
                f"{directory}: {FAILURES} trials failed one after the other, the last: {outcome.reason}"
            )
    return None


def attempt(sweep: Sweep, claimed: Claim, train: Train) -> Outcome:
    """Starts, or continues, a trial's run."""
    trial, experiment = claimed.trial, None
    if kills_its_workers(trial):
        step = newest_checkpoint(claimed.directory)
        return _failed(f"{ATTEMPTS} workers died of it after step {step} (out of memory?)")
    if newest_checkpoint(claimed.directory) == trial.user_attrs.get("pruned", math.inf):
        return Outcome(TrialState.PRUNED)  # the worker was killed between the save and its report
    with catch_write_errors(claimed.log):
        claimed.log.parent.mkdir(parents=True, exist_ok=True)
        log = claimed.log.open("a", buffering=1, encoding="utf-8", errors="replace")
    with log, redirect_stdout(log), on_leave(partial(end_attempt, trial)):
        try:
            experiment = declared(sweep.base, claimed)
            stops = pruning(sweep, trial, experiment.run)
            try:
                result = train(experiment, claimed.directory, print, should_stop=stops)
            except NeedsConstants as reason:
                print(f"{reason}; so has this trial")
                experiment = with_constants(experiment)
                result = train(experiment, claimed.directory, print, should_stop=stops)
        except Exception as error:
            log.write(traceback.format_exc())
            if isinstance(error, optuna.exceptions.StorageInternalError) or _is_environment_fault(error):
                end_attempt(trial)
                raise
            return _failed(_describe_error(error))
        except KeyboardInterrupt:  # not a death that the trial is blamed for
            end_attempt(trial)
            raise
        finally:
            _free_memory(kept=experiment is not None and experiment.run.hyperparameters == "inputs")
    if result.signal and not result.finished:
        return Outcome(signal=result.signal)
    if "pruned" in trial.user_attrs:
        return Outcome(TrialState.PRUNED)
    return Outcome(TrialState.COMPLETE, _value(sweep, result.validation), signal=result.signal)


def declared(base: Experiment, claimed: Claim) -> Experiment:
    """The trial's declaration, with constants if its run began with them."""
    experiment = with_start(base, {"run.stop_on_nan": True} | claimed.point, print)
    if (claimed.directory / runs.FILE).exists():
        begun = runs.experiment_of(claimed.directory, warn=False)
        return with_constants(experiment) if begun.run.hyperparameters == "constants" else experiment
    return experiment


def with_constants(experiment: Experiment) -> Experiment:
    return replace(experiment, run=replace(experiment.run, hyperparameters="constants"))


def pruning(sweep: Sweep, trial: optuna.Trial, run: Run) -> Callable[[Row], bool]:
    """A function that reports each evaluation to the study, once, and returns whether to prune the trial.

    Not at the last evaluation, of the last step or of the one that reaches `run.stop_at`. Of several seeds
    the first one is reported and pruned, and the others follow it: see research/sweeping/seeds.py.
    """
    known = trial.study.get_trials(deepcopy=False)[trial.number]
    reported, first = set(known.intermediate_values), seed_of(known) == 0

    def should_stop(row: Row) -> bool:
        step, value = row["step"], _value(sweep, row)
        if step == 0:  # before training, all trials are alike
            return False
        if first and step not in reported:
            trial.report(value, step)
        if "pruned" in trial.user_attrs:  # the worker was killed between the decision and the save
            return step >= trial.user_attrs["pruned"]
        ended = step == run.steps or (run.target is not None and run.target.met(row.get(run.target.metric)))
        if ended or not (
            trial.should_prune() if first else is_left_out(known, trial.study.get_trials(deepcopy=False))
        ):
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


def _is_environment_fault(error: Exception) -> bool:
    return isinstance(error, EnvironmentFault) and not isinstance(error, Diverged)


def _failed(reason: str) -> Outcome:
    return Outcome(TrialState.FAIL, reason=reason)


def _describe_error(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, LineageError):
        return text
    if "RESOURCE_EXHAUSTED" in text or isinstance(error, MemoryError):
        return f"out of memory: {text[:300]}"
    return f"{type(error).__name__}: {text[:300]}"


def _free_memory(kept: bool) -> None:
    """Frees the trial's arrays, and its programs, unless they are `kept` as those of trials to come.

    Of those `shared_program` keeps a few.
    """
    import jax

    gc.collect()
    if not kept:
        jax.clear_caches()


def _describe_start(claimed: Claim) -> str:
    if claimed.resumed:
        return f"resumed at step {newest_checkpoint(claimed.directory)}"
    return format_settings(claimed.point)


def _describe_end(sweep: Sweep, outcome: Outcome) -> str:
    match outcome.state:
        case TrialState.COMPLETE:
            return f"finished  {sweep.metric} {outcome.value:.4f}"
        case TrialState.PRUNED:
            return "pruned"
        case _:
            return f"failed  {outcome.reason}"
