"""The loop of training: steps, logs, evaluations, checkpoints, and the reasons to stop."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax

from research.config import Experiment, Run
from research.config.settings import flatten
from research.data.batches import train_stream
from research.devices.processes import Minutes, agreed
from research.io.activity import activity
from research.objectives import objective_of
from research.optimizers.schedules import schedule
from research.runs import mirror, record, target
from research.runs.checkpoints import best
from research.runs.checkpoints.store import Checkpoints
from research.runs.metrics_log import Metrics, Row
from research.runs.state import State
from research.training.driving import Begun, Outer, Running, alone
from research.training.evaluating.evaluation import write_predictions
from research.training.evaluating.validation import processes, validation
from research.training.first_state import describe_trained
from research.training.logging import trackers
from research.training.logging.log import Log
from research.training.logging.profile import profiled
from research.training.logging.progress import progress
from research.training.multi_step import step_sums
from research.training.placement import within_memory
from research.training.prefetch import prefetch_to_device
from research.training.preparation import Prepared, check_declared, prepare
from research.training.stopping.nan_check import NanCheck
from research.training.stopping.signals import stop_on_signals
from research.training.stopping.watchdog import watchdog


class Result(NamedTuple):
    """The outcome of a call to `train`."""

    step: int  # the last step executed
    finished: bool  # whether it is the run's last step, or the first that reached run.stop_at
    signal: int | None  # that requested a stop, even if it came after the last step
    validation: Row | None  # the last row
    baseline_loss: float  # validation loss of a constant predictor: frequencies, or the mean of scores
    reached: target.Reached | None = None  # where the run reached run.stop_at


def train(
    experiment: Experiment,
    directory: Path,
    report: Callable[[str], None],
    allow_change: bool = False,
    should_stop: Callable[[Row], bool] = lambda row: False,
) -> Result:
    """Trains a run by itself: see `running`."""
    return alone(running(experiment, directory, report, allow_change, should_stop))


def running(
    experiment: Experiment,
    directory: Path,
    report: Callable[[str], None],
    allow_change: bool = False,
    should_stop: Callable[[Row], bool] = lambda row: False,
    outer: Outer | None = None,
) -> Running[Result]:
    """Starts the run in `directory`, or continues it from its newest intact checkpoint.

    All results are functions of (experiment, step), so a stopped run continues as if it had not stopped: same
    batches, same dropout, same bits. With several processes, each reads its rows and writes its part of a
    checkpoint; the first process writes everything else. `should_stop` is called with the validation row of
    every evaluated step. Raises UsageError for sections that do not fit the objective.

    A run requests its steps, and a driver executes them, for one run or several at once. With `outer` the
    driver watches for signals and hangs, otherwise the run does.
    """
    check_declared(experiment)
    if (url := experiment.run.mirror) is not None:
        agreed(partial(mirror.bring, url, directory, experiment, report, allow_change))
    with record.open_run(directory, experiment, report, allow_change):
        with activity("preparing the run"):
            prepared, state = prepare(experiment, directory, report, allow_change)
        run, start, kept = experiment.run, prepared.start, directory / "checkpoints"
        with (
            within_memory(prepared.settled),
            mirror.mirrored(run.mirror, directory, report),
            Checkpoints(kept, run.keep, run.keep_every, run.keep_at) as checkpoints,
        ):
            if start:
                report(f"continuing from step {start} of {run.steps}")
            if experiment.optimizer.freeze is not None:
                report(describe_trained(experiment, prepared.abstract.model))
            current = yield Begun(prepared.settled, prepared.program, state)
            del state
            return (yield from _steps(prepared, directory, current, checkpoints, report, should_stop, outer))


def _steps(
    prepared: Prepared,
    directory: Path,
    current: Callable[[], State],
    checkpoints: Checkpoints,
    report: Callable[[str], None],
    should_stop: Callable[[Row], bool],
    outer: Outer | None,
) -> Running[Result]:
    """Trains from the start to the last step, the target or a signal; writes rows and checkpoints."""
    experiment, corpus, start = prepared.experiment, prepared.corpus, prepared.start
    run, program, first, step = experiment.run, prepared.program, jax.process_index() == 0, start
    objective = objective_of(experiment.objective)
    examples = objective.examples(experiment)
    validate = validation(experiment, corpus, partial(write_predictions, directory))
    nan_check = NanCheck(directory, run.stop_on_nan)
    minutes = Minutes(run.checkpoint_minutes, run.log_every)
    with activity("opening the logs"):
        following = trackers.open_trackers(run, flatten(experiment), directory, start) if first else []
    with (
        Metrics(directory, start, first, following, report) as metrics,
        progress(run.steps, start, objective.columns, shown=first) as display,
        stop_on_signals(start) if outer is None else nullcontext(outer.stop) as stop,
        watchdog(directory, run.watchdog, run.watchdog_minutes)
        if outer is None
        else nullcontext(outer.watch) as watch,
    ):
        log = Log(schedule(experiment.optimizer.rate, run.steps), experiment.tokens, metrics, display)
        if (start == 0 and run.evaluate_every) or (start == run.steps and not metrics.validated(start)):
            log.write(validate(current(), program))
        if start in run.keep_at:
            checkpoints.save(start, current().saved())
        log.resume(start)
        read = partial(train_stream, examples, experiment.data, run.seed, corpus.train, start, run.steps)
        ended = _reached(run, metrics)
        for steps, batch in () if ended else prefetch_to_device(program, read(**processes()), run, start):
            step, traced = steps[-1], run.profile in steps
            with profiled(directory, traced, report, current() if traced else None) as done_with:
                sums = done_with((yield batch))
            watch.watch(sums["loss"])
            nan_check.hold(step, sums)
            display.advance(step)
            log.settle()
            for index, done in enumerate(steps):
                if _due(done, run.log_every, run.steps):
                    log.hold(done, step_sums(run, sums, index))
            stopping = stop.reached(step)
            evaluating = _due(step, run.evaluate_every, run.steps)
            saving = stopping or _due(step, run.checkpoint_every, run.steps) or minutes.due(step)
            saving |= step in run.keep_at
            if evaluating or saving:
                log.pause()
                watch.rest()
                nan_check.settle()
                value = None
                if evaluating:
                    log.write(row := validate(current(), program))
                    stopping |= should_stop(row) | _reached(run, metrics)
                    value = best.score(row, run.keep_best)
                    saving |= stopping or best.is_best(row, metrics.rows, run.keep_best)
                if saving:
                    metrics.flush()
                    checkpoints.save(step, current().saved(), value)
                    minutes.restart()
                log.resume(step)
            if stopping:
                break
    done = target.reached(metrics.rows, run.target)
    return Result(
        step=step,
        finished=step == run.steps or done is not None,
        signal=stop.signal,
        validation=next((row for row in reversed(metrics.rows) if row["split"] == "validation"), None),
        baseline_loss=corpus.validation.baseline_loss,
        reached=done,
    )


def _reached(run: Run, metrics: Metrics) -> bool:
    """Whether an evaluation has reached `run.stop_at`; the first process decides for all."""
    return run.target is not None and bool(
        agreed(lambda: int(target.reached(metrics.rows, run.target) is not None))
    )


def _due(step: int, every: int, last: int) -> bool:
    return bool(every and step % every == 0) or step == last
