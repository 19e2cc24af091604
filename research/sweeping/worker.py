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

from research.config import Experiment, Sweep
from research.config.imports.own_code import own_line
from research.errors import Diverged, EnvironmentFault, LineageError, UsageError
from research.io.files import catch_write_errors
from research.runs import record as runs
from research.runs.status import has_begun, newest_checkpoint
from research.sweeping.claim import ATTEMPTS, SUSPECT, Claim, claim_trial, deaths_in_a_row, end_attempt
from research.sweeping.common_failure import BEFORE_A_STEP, common_failure
from research.sweeping.notation import format_settings
from research.sweeping.pruning import pruning, value_of
from research.sweeping.record import Record, base_of, read, refuse_changed_imports
from research.sweeping.study.database import storage_faults
from research.sweeping.study.suggest import point_of
from research.training.driving import Outer, Running, alone, printing_to
from research.training.placement import DoesNotFit
from research.training.resolving import resolve
from research.training.shared_program import NeedsConstants
from research.training.stopping.interrupts import on_leave
from research.training.stopping.signals import Stop, stop_on_signals
from research.training.stopping.watchdog import watchdog
from research.training.together import together

FAILURES = 5  # points in a row with failed trials, after which the sweep ends

Begin = Callable[..., Running[Any]]  # research.training.loop.running, or a test's substitute


class Outcome(NamedTuple):
    """Outcome of a worker's attempt at a trial."""

    state: TrialState | None = None  # None: it was stopped and will be resumed
    value: float | None = None
    reason: str | None = None
    signal: int | None = None  # that asked the worker to stop
    before_a_step: bool = False  # it was refused before its first step


def work(
    directory: Path, facts: Mapping[str, Any], report: Callable[[str], None], begin: Begin
) -> int | None:
    """Trains trials of the sweep in `directory` until none is left; returns the signal that stopped it.

    A trial that fails because of its settings (an invalid value, a non-finite loss, too little memory)
    records the reason, and the next one begins, unless it is a `common_failure`. A fault of the environment
    (a full disk, no storage, a changed import) is raised, and the trial can be resumed. Trials of one shape
    are trained together if the sweep says so.
    """
    with storage_faults(str(directory)):
        record = read(directory)
        refuse_changed_imports(directory, record)
        run, lanes = record.sweep.base.run, record.sweep.together
        if lanes > 1:
            watching = watchdog(directory, run.watchdog, run.watchdog_minutes, lanes)
            with stop_on_signals(0) as stop, watching as watch:
                begin = partial(begin, outer=Outer(stop, watch))
                together(_trials(directory, facts, report, begin, stop), lanes, watch.rest)
            return stop.signal
        stop = Stop()
        following = _trials(directory, facts, report, begin, stop)
        while (trial := following()) is not None:
            alone(trial)
        return stop.signal


def _trials(
    directory: Path, facts: Mapping[str, Any], report: Callable[[str], None], begin: Begin, stop: Stop
) -> Callable[[], Running[None] | None]:
    """A function that returns the next trial as a run; None if none is left or a signal arrived."""
    failures: set[int] = set()  # points
    alike = False  # all trials fail, whatever their values

    def trial(record: Record, claimed: Claim) -> Running[None]:
        nonlocal alike
        report(f"trial {claimed.number}  {_describe_start(claimed)}")
        began = time.perf_counter()
        try:
            outcome = yield from attempt(replace(record.sweep, base=base_of(record)), claimed, begin)
            end_attempt(claimed)
            stop.signal = outcome.signal or stop.signal
            if outcome.state is None:
                step = newest_checkpoint(claimed.directory)
                report(f"trial {claimed.number}  stopped; saved at step {step}")
                return
            if outcome.reason:
                claimed.trial.set_user_attr("reason", outcome.reason)
            if outcome.before_a_step:
                claimed.trial.set_user_attr(BEFORE_A_STEP, True)
            claimed.trial.study.tell(claimed.trial, outcome.value, outcome.state)
        finally:
            claimed.lock.release()
        seconds = time.perf_counter() - began
        report(f"trial {claimed.number}  {_describe_end(record.sweep, outcome)}  ({seconds:.0f} s)")
        if outcome.state != TrialState.FAIL:
            failures.clear()
            return
        failures.add(point_of(claimed.trial))
        known = claimed.trial.study.get_trials(deepcopy=False)
        if outcome.before_a_step and common_failure(record.sweep.space, directory, known):
            alike = True
            report("no further trial begins: all failed before their first step, for one reason")
            return
        if len(failures) == FAILURES and not outcome.signal:  # all seeds of one point may fail
            raise EnvironmentFault(
                f"{directory}: {FAILURES} trials in a row failed, the last: {outcome.reason}"
            )

    def following() -> Running[None] | None:
        if stop.signal is not None or alike:
            return None
        claimed = claim_trial(record := read(directory), directory, facts)
        return None if claimed is None else trial(record, claimed)

    return following


def attempt(sweep: Sweep, claimed: Claim, begin: Begin) -> Running[Outcome]:
    """Starts, or continues, a trial's run."""
    trial, experiment = claimed.trial, None
    deaths = deaths_in_a_row(trial)
    if deaths >= ATTEMPTS:
        step = newest_checkpoint(claimed.directory)
        reason = f"{ATTEMPTS} workers died while training it after step {step} (out of memory?)"
        return Outcome(TrialState.FAIL, reason=reason)
    if newest_checkpoint(claimed.directory) == trial.user_attrs.get("pruned", math.inf):
        return Outcome(TrialState.PRUNED)  # the worker was killed between saving and reporting

    def train(experiment: Experiment) -> Running[Any]:
        run = begin(experiment, claimed.directory, print, should_stop=stops)
        if sweep.together > 1 and deaths < SUSPECT:
            return (yield from printing_to(log, run))
        with redirect_stdout(log):
            return alone(run)  # the worker's other trials wait

    with catch_write_errors(claimed.log):
        claimed.log.parent.mkdir(parents=True, exist_ok=True)
        log = claimed.log.open("a", buffering=1, encoding="utf-8", errors="replace")
    with log, on_leave(partial(end_attempt, claimed)):
        try:
            with redirect_stdout(log):
                experiment = declared(sweep.base, claimed)
            stops = pruning(sweep, trial, experiment.run, claimed.directory)
            try:
                result = yield from train(experiment)
            except NeedsConstants as reason:
                print(f"{reason}; so has this trial", file=log)
                experiment = with_constants(experiment)
                result = yield from train(experiment)
        except Exception as error:
            log.write(traceback.format_exc())
            fault = isinstance(error, EnvironmentFault) and not isinstance(error, Diverged)
            if fault or isinstance(error, optuna.exceptions.StorageInternalError):
                end_attempt(claimed)
                raise
            # Too little memory, and a fault of one's own code, may depend on values without naming them.
            refused = isinstance(error, UsageError) and not isinstance(error, DoesNotFit)
            early = refused and not has_begun(claimed.directory)
            return Outcome(TrialState.FAIL, reason=_describe_error(error), before_a_step=early)
        except (KeyboardInterrupt, GeneratorExit):  # not a death that counts against the trial
            end_attempt(claimed)
            raise
        finally:
            if experiment is not None and experiment.run.hyperparameters == "inputs":
                gc.collect()  # keeps the program, which later trials share
            else:
                _free_memory()
    if result.signal and not result.finished:
        return Outcome(signal=result.signal)
    if "pruned" in trial.user_attrs:
        return Outcome(TrialState.PRUNED)
    return Outcome(TrialState.COMPLETE, value_of(sweep, result.validation), signal=result.signal)


def declared(base: Experiment, claimed: Claim) -> Experiment:
    """The trial's declaration, with constants if its run began with them."""
    experiment = resolve(base, {"run.stop_on_nan": True} | claimed.point, print)
    if (claimed.directory / runs.FILE).exists():
        begun = runs.experiment_of(claimed.directory, warn=False)
        return with_constants(experiment) if begun.run.hyperparameters == "constants" else experiment
    return experiment


def with_constants(experiment: Experiment) -> Experiment:
    return replace(experiment, run=replace(experiment.run, hyperparameters="constants"))


def _describe_error(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, LineageError):
        return text
    if "RESOURCE_EXHAUSTED" in text or isinstance(error, MemoryError):
        return f"out of memory: {text[:300]}"
    where = own_line(error)
    return f"{type(error).__name__}: {text[:300]}" + (f" ({where})" if where else "")


def _free_memory() -> None:
    """Frees the trial's arrays, and the programs compiled for its shapes."""
    import jax

    gc.collect()
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
