"""Training from declaration to result: the one file that meets all others."""

from collections.abc import Callable
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from research import weights
from research.config import Experiment
from research.data.batches import (
    corpus_of,
    stream,
    train_batches,
    train_stream,
    validation_batches,
)
from research.data.store.token_store import Corpus
from research.devices import xla
from research.devices.compilers import Compiled, compile_ahead, compiled
from research.devices.malloc import release_free_memory
from research.devices.processes import Minutes, agreed
from research.io.files import write_atomic
from research.objectives.pretraining import evaluation
from research.runs import best, record
from research.runs.checkpoints import Checkpoints
from research.runs.integrity import latest_valid_step
from research.runs.metrics_log import Metrics, Row
from research.runs.state import State, evaluation_params, initial_model, initial_state
from research.training.evaluation import bits_per_byte, evaluate, sample_text, shared, totals
from research.training.logging import trackers
from research.training.logging.log import Log
from research.training.logging.profile import profiled
from research.training.logging.progress import progress
from research.training.multi_step import multi_step, step_sums
from research.training.prefetch import prefetch_to_device
from research.training.stopping.nan_check import NanCheck
from research.training.stopping.signals import stop_on_signals
from research.training.stopping.watchdog import watchdog
from research.training.task_metrics import task_metrics

SAMPLING = 1  # folded into a state's key for its sample, so that no step's dropout has the same numbers


class Result(NamedTuple):
    """What a call to `train` ended with."""

    step: int
    finished: bool  # its last step is made
    signal: int | None  # that asked it to stop, be it too late
    validation: Row | None  # the last one
    baseline_loss: float  # of a constant prediction by the validation split's frequencies


def train(
    experiment: Experiment,
    directory: Path,
    report: Callable[[str], None],
    allow_change: bool = False,
    should_stop: Callable[[Row], bool] = lambda row: False,
) -> Result:
    """Starts the run in `directory`, or continues it from its newest checkpoint that is whole.

    Everything that decides a number is a function of (experiment, step), so a run that was stopped goes on
    as if it had not been: same batches, same dropout, same bits. Of several processes, each reads its rows
    and writes its part of a checkpoint; the first one writes all else. `should_stop` is asked with
    every validation row of a step that was made.
    """
    trackers.check(experiment.run)
    with record.open_run(directory, experiment, report, allow_change) as known:
        corpus = corpus_of(experiment, report)
        train_batches(experiment, corpus.train, **processes())  # which refuses what gives no batch
        facts = {"data": [corpus.train.sha256, corpus.validation.sha256]}
        abstract, program = compile_step(experiment)
        # Before the directory is claimed: weights that do not fit leave nothing behind.
        model = None if known else load_start_weights(experiment, report)

        def claim() -> int:
            record.examine(directory, experiment, facts, allow_change)
            step = latest_valid_step(directory / "checkpoints", report)
            record.claim(directory, experiment, facts, step, report, allow_change)
            write_atomic(directory / "tokenizer.json", corpus.tokenizer.to_str())
            return step

        start = agreed(claim)
        run = experiment.run
        with Checkpoints(directory / "checkpoints", run.keep, run.keep_every) as checkpoints:
            checkpoints.check_disk_space(abstract)
            state = first_state(experiment, abstract, program.layout, checkpoints, model, report)
            del model  # its memory is the state's, or not needed
            if start:
                report(f"continuing from step {start} of {run.steps}")
            return _steps(
                experiment, directory, corpus, program, state, start, checkpoints, report, should_stop
            )


def _steps(
    experiment: Experiment,
    directory: Path,
    corpus: Corpus,
    program: Compiled,
    state: State,
    start: int,
    checkpoints: Checkpoints,
    report: Callable[[str], None],
    should_stop: Callable[[Row], bool],
) -> Result:
    """From `start` to the last step or a signal; rows and checkpoints on the way."""
    run, first, step = experiment.run, jax.process_index() == 0, start
    validate = validation(experiment, corpus, directory)
    nan_check = NanCheck(directory, run.stop_on_nan)
    minutes = Minutes(run.checkpoint_minutes, run.log_every)
    following = trackers.open_trackers(experiment, directory, start) if first else []
    with (
        Metrics(directory, start, first, following, report) as metrics,
        progress(run.steps, start, shown=first) as display,
        stop_on_signals(start) as stop,
        watchdog(directory, run.watchdog, run.watchdog_minutes) as watch,
    ):
        log = Log(experiment, metrics, display)
        if (start == 0 and run.evaluate_every) or (start == run.steps and not metrics.validated(start)):
            log.write(validate(state, program))
        log.resume(start)
        read = train_stream(experiment, corpus.train, start, run.steps, **processes())
        for steps, batch in prefetch_to_device(program, read, run, start):
            fresh = step == start
            if fresh:
                compile_ahead(program, state, batch)
            step = steps[-1]
            with profiled(directory, run.profile in steps, report, state) as done_with:
                state, sums = done_with(program.step(state, batch))
            if fresh:
                release_free_memory()
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
            if evaluating or saving:
                log.pause()
                watch.rest()
                nan_check.settle()
                value = None
                if evaluating:
                    log.write(row := validate(state, program))
                    stopping |= should_stop(row)
                    value = best.score(row, run.keep_best)
                    saving |= stopping or best.is_best(row, metrics.rows, run.keep_best)
                if saving:
                    metrics.flush()
                    checkpoints.save(step, state, value)
                    minutes.restart()
                log.resume(step)
            if stopping:
                break
    return Result(
        step=step,
        finished=step == run.steps,
        signal=stop.signal,
        validation=next((row for row in reversed(metrics.rows) if row["split"] == "validation"), None),
        baseline_loss=corpus.validation.baseline_loss,
    )


def processes() -> dict[str, int]:
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def compile_step(experiment: Experiment) -> tuple[State, Compiled]:
    """The state's shapes, and the experiment's step and evaluation as it says (compiled when called)."""
    abstract = jax.eval_shape(partial(initial_state, experiment))
    step, judge = multi_step(experiment), evaluation(experiment.objective)
    return abstract, compiled(experiment.parallel, step, judge, abstract)


def load_start_weights(experiment: Experiment, report: Callable[[str], None]) -> Any:
    """The model with `start.weights` in it, and what was found told in a table; None where there are none."""
    if experiment.start.weights is None:
        return None
    model = xla.jit(partial(initial_model, experiment))()
    model, found = weights.start(model, experiment.start.weights)
    report(str(found))
    return model


def first_state(
    experiment: Experiment,
    abstract: State,
    layout: State,
    checkpoints: Checkpoints,
    model: Any,
    report: Callable[[str], None],
) -> State:
    """The run's newest checkpoint, or else `start.weights`, or else what the seed draws; on the devices.

    In that order, and by then `latest_valid_step` has put aside what is damaged: a run that has lost all its
    checkpoints starts over, as it did at first.
    """
    step = checkpoints.latest()
    if step is not None:
        return checkpoints.restore(step, abstract, layout)
    model = load_start_weights(experiment, report) if model is None else model
    return xla.jit(partial(initial_state, experiment), out_shardings=layout)(model)


def validation(experiment: Experiment, corpus: Corpus, directory: Path) -> Callable[[State, Compiled], Row]:
    """Returns what makes a row of the whole validation split; of a GPT a sample, of a task its metrics."""

    @cache
    def split(now: Experiment) -> tuple:
        """Batches of this process, and the sums of all weights."""
        sums = totals(validation_batches(now, corpus.validation))
        return validation_batches(now, corpus.validation, **processes()), sums

    def validate(state: State, program: Compiled) -> Row:
        model = evaluation_params(state)
        batches, sums = split(experiment.at_step(int(state.step) - 1))  # as the step just made had them
        with closing(stream(batches, 0, len(batches))) as read:
            means, outputs = evaluate(model, map(program.feed, shared(read, sums)), program.evaluate)
        row = {"step": int(state.step), "split": "validation", **means}
        if experiment.labelled:
            row |= task_metrics(experiment, corpus, outputs, directory if jax.process_index() == 0 else None)
        if experiment.objective.name == "next_token":
            row["bits_per_byte"] = bits_per_byte(means["loss"], sums["weights"], corpus.validation.bytes)
            if experiment.run.sample:
                key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), SAMPLING)
                row["sample"] = sample_text(model, corpus.tokenizer, experiment.run.sample, key)
        return row

    return validate


def _due(step: int, every: int, last: int) -> bool:
    return bool(every and step % every == 0) or step == last
