"""Training from declaration to result: the one file that uses all rooms below."""

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax

from research.config import Experiment, Run
from research.config.settings import flatten
from research.data.batches import train_batches, train_stream
from research.data.store.token_store import Corpus
from research.data.tokenizers.for_task import check_vocabulary
from research.devices.compilers import Compiled, check_rows
from research.devices.memory import usable_memory
from research.devices.processes import Minutes, agreed, refuse_differences
from research.io.activity import activity
from research.io.files import write_atomic
from research.models import precision
from research.objectives import check, objective_of
from research.optimizers.schedules import schedule
from research.runs import record, target
from research.runs.checkpoints import best
from research.runs.checkpoints.integrity import latest_intact_step, move_damaged
from research.runs.checkpoints.store import Checkpoints, check_disk_space, compare
from research.runs.environment import shared
from research.runs.metrics_log import Metrics, Row
from research.runs.state import State
from research.training.driving import Begun, Outer, Running, alone
from research.training.evaluating import evaluators
from research.training.evaluating.validation import processes, validation, validation_numbers
from research.training.first_state import (
    advice_on_freezing,
    describe_trained,
    first_state,
    load_start_weights,
)
from research.training.logging import trackers
from research.training.logging.log import Log
from research.training.logging.profile import profiled
from research.training.logging.progress import progress
from research.training.multi_step import call_ranges, step_sums
from research.training.placement import choices, compile_for, settled, trace, within_memory
from research.training.prefetch import prefetch_to_device
from research.training.stopping.nan_check import NanCheck
from research.training.stopping.signals import stop_on_signals
from research.training.stopping.watchdog import watchdog
from research.training.teacher import load_teacher


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
    check(experiment)
    trackers.check(experiment.run)
    evaluators.names_of(experiment)
    refuse_differences(shared(experiment))
    kept = directory / "checkpoints"
    with record.open_run(directory, experiment, report, allow_change), ExitStack() as preparing:
        preparing.enter_context(activity("preparing the run"))
        examples = objective_of(experiment.objective).examples(experiment)
        with record.advice_on_moved_data(directory, experiment):
            corpus = examples.prepare(report)
        # Raises UsageError if the data are too short for a batch.
        batches = train_batches(examples, experiment.data, experiment.run.seed, corpus.train, **processes())
        trained_on, held_out = corpus.train.sha256, corpus.validation.sha256
        teacher, taught_by = load_teacher(experiment, corpus.tokenizer, report)
        now = {"data.source": trained_on, "data.validation": held_out, "objective.teacher": taught_by}
        refuse_differences({name: text and text[:12] for name, text in now.items()})
        facts, devices = {"data": [trained_on, held_out], "teacher": taught_by}, jax.devices()
        chosen = settled(experiment, devices, usable_memory(devices))
        if (note := precision.advice(experiment.model.precision)) is not None:
            report(note)
        abstract, program = compile_for(chosen, devices)
        check_rows(experiment.data.batch, program.parts)
        run = experiment.run
        if run.keep_best is not None or run.target is not None or run.evaluators:
            numbers = validation_numbers(experiment, abstract)
            best.check(run.keep_best, numbers)
            target.check(run.target, numbers)

        # A refused command must change nothing, so all checks come before any write.
        def look() -> int:
            with activity("verifying the checkpoint"):
                step = latest_intact_step(kept)
            record.check(directory, experiment, facts, step, allow_change)
            if step:
                with advice_on_freezing(directory, experiment):
                    compare(kept / str(step), abstract.saved())
                check_vocabulary(experiment.data, corpus.tokenizer, str(directory), "the run was")
                if record.differs(directory, experiment, "start.weights"):
                    # Unused, but the record must name weights that load.
                    load_start_weights(experiment, report)
            else:
                weights = experiment.start.weights
                named = f"start.weights={weights} were"
                check_vocabulary(experiment.data, corpus.tokenizer, weights, named)
            check_disk_space(directory, abstract.saved())
            return step

        def claim() -> int:
            record.claim(directory, experiment, facts, start, report, allow_change, choices(chosen))
            write_atomic(directory / "tokenizer.json", corpus.tokenizer.to_str())
            move_damaged(kept, start, report)
            return start

        start = agreed(look)
        if calls := next(call_ranges(experiment.run, start), None):
            with activity("tracing the training step"):  # a plugin may fail here
                trace(chosen, abstract, program, [batches[step - 1] for step in calls])
        checkpoint = kept / str(start) if start else None
        with activity("restoring the checkpoint" if checkpoint else "initialising the model"):
            state = first_state(chosen, abstract, program.layout, checkpoint, teacher, report)
        agreed(claim)
        preparing.close()
        with within_memory(chosen), Checkpoints(kept, run.keep, run.keep_every, run.keep_at) as checkpoints:
            if start:
                report(f"continuing from step {start} of {run.steps}")
            if experiment.optimizer.freeze is not None:
                report(describe_trained(experiment, abstract.model))
            current = yield Begun(chosen, program, state)
            del state
            from_here = corpus, program, current, start, checkpoints
            return (yield from _steps(experiment, directory, *from_here, report, should_stop, outer))


def _steps(
    experiment: Experiment,
    directory: Path,
    corpus: Corpus,
    program: Compiled,
    current: Callable[[], State],
    start: int,
    checkpoints: Checkpoints,
    report: Callable[[str], None],
    should_stop: Callable[[Row], bool],
    outer: Outer | None,
) -> Running[Result]:
    """Trains from `start` to the last step, the target or a signal; writes rows and checkpoints."""
    run, first, step = experiment.run, jax.process_index() == 0, start
    objective = objective_of(experiment.objective)
    examples = objective.examples(experiment)
    validate = validation(experiment, corpus, directory)
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
