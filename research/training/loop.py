"""Training from declaration to result: the one file that meets all others."""

from collections.abc import Callable
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from research import compiling, weights
from research.allocator import give_back
from research.config import Experiment
from research.data.batches import (
    corpus_of,
    stream,
    train_batches,
    train_stream,
    validation_batches,
)
from research.data.shapes import batch_shapes
from research.data.store import Corpus
from research.files import write_whole
from research.objectives import evaluation
from research.parallel import Compiled, compile_ahead, compiled, see_to_rows
from research.training import best, record, trackers
from research.training.calls import call_of, of_step
from research.training.checkpoint import Checkpoints, compare, restore, see_to_space
from research.training.evaluate import bits_per_byte, evaluate, sample_text, shared, totals
from research.training.feeding import fed
from research.training.finite import Finite
from research.training.interrupt import stop_on_signals
from research.training.judged import judged
from research.training.log import Log
from research.training.metrics import Metrics, Row
from research.training.processes import Minutes, agreed
from research.training.profile import profiled
from research.training.progress import progress
from research.training.seal import newest_whole, put_aside
from research.training.state import State, evaluated, initial_model, initial_state
from research.training.watchdog import watchdog

SAMPLING = 1  # folded into a state's key for its sample, so that no step's dropout has the same numbers


class Result(NamedTuple):
    """What a call to `train` ended with."""

    step: int
    finished: bool  # its last step is made
    signal: int | None  # that asked it to stop, be it too late
    validation: Row | None  # the last one
    unigram_entropy: float  # of the validation tokens, nats: what a model that knows only frequencies pays


def train(
    experiment: Experiment,
    directory: Path,
    report: Callable[[str], None],
    allow_change: bool = False,
    enough: Callable[[Row], bool] = lambda row: False,
) -> Result:
    """Starts the run in `directory`, or continues it from its newest checkpoint that is whole.

    Everything that decides a number is a function of (experiment, step), so a run that was stopped goes on
    as if it had not been: same batches, same dropout, same bits. Of several processes, each reads its rows
    and writes its part of a checkpoint; the first one writes all else. `enough` sees every validation row of
    a step that was made, and says whether to stop there.
    """
    trackers.check(experiment)
    kept = directory / "checkpoints"
    with record.entered(directory, experiment, report, allow_change):
        corpus = corpus_of(experiment, report)
        train_batches(experiment, corpus.train, **processes())  # which refuses what gives no batch
        facts = {"data": [corpus.train.sha256, corpus.validation.sha256]}
        abstract, program = compile_step(experiment)
        see_to_rows(experiment.data.batch, program.parts)
        if experiment.run.keep_best is not None:
            best.check(experiment.run.keep_best, numbers(experiment, abstract))

        # A command that is refused has changed nothing, so whatever may refuse comes before what writes.
        def look() -> int:
            step = newest_whole(kept)
            record.see_to(directory, experiment, facts, step, allow_change)
            if step:
                compare(kept / str(step), abstract)
                if record.differs(directory, experiment, "start.weights"):
                    started(experiment, report)  # of no use any more, but the record names none that fail
            see_to_space(directory, abstract)
            return step

        def claim() -> int:
            record.claim(directory, experiment, facts, start, report, allow_change)
            write_whole(directory / "tokenizer.json", corpus.tokenizer.to_str())
            put_aside(kept, start, report)
            return start

        start = agreed(look)
        checkpoint = kept / str(start) if start else None
        state = first_state(experiment, abstract, program.layout, checkpoint, report)
        agreed(claim)
        run = experiment.run
        with Checkpoints(kept, run.keep, run.keep_every) as checkpoints:
            if start:
                report(f"continuing from step {start} of {run.steps}")
            return _steps(experiment, directory, corpus, program, state, start, checkpoints, report, enough)


def _steps(
    experiment: Experiment,
    directory: Path,
    corpus: Corpus,
    program: Compiled,
    state: State,
    start: int,
    checkpoints: Checkpoints,
    report: Callable[[str], None],
    enough: Callable[[Row], bool],
) -> Result:
    """From `start` to the last step or a signal; rows and checkpoints on the way."""
    run, first, step = experiment.run, jax.process_index() == 0, start
    validate = validation(experiment, corpus, directory)
    finite = Finite(directory, run.stop_on_nan)
    minutes = Minutes(run.checkpoint_minutes, run.log_every)
    following = trackers.follow(experiment, directory, start) if first else []
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
        for steps, batch in fed(program, read, run, start):
            fresh = step == start
            if fresh:
                compile_ahead(program, state, batch)
            step = steps[-1]
            with profiled(directory, run.profile in steps, report, state) as done_with:
                state, sums = done_with(program.step(state, batch))
            if fresh:
                give_back()
            watch.watch(sums["loss"])
            finite.hold(step, sums)
            display.advance(step)
            log.settle()
            for index, done in enumerate(steps):
                if _due(done, run.log_every, run.steps):
                    log.hold(done, of_step(run, sums, index))
            stopping = stop.reached(step)
            evaluating = _due(step, run.evaluate_every, run.steps)
            saving = stopping or _due(step, run.checkpoint_every, run.steps) or minutes.due(step)
            if evaluating or saving:
                log.pause()
                watch.rest()
                finite.settle()
                value = None
                if evaluating:
                    log.write(row := validate(state, program))
                    stopping |= enough(row)
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
        unigram_entropy=corpus.validation.unigram_entropy,
    )


def processes() -> dict[str, int]:
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def compile_step(experiment: Experiment) -> tuple[State, Compiled]:
    """The state's shapes, and the experiment's step and evaluation as it says (compiled when called)."""
    abstract = jax.eval_shape(partial(initial_state, experiment))
    step, judge = call_of(experiment), evaluation(experiment.objective)
    return abstract, compiled(experiment.parallel, step, judge, abstract)


def started(experiment: Experiment, report: Callable[[str], None]) -> Any:
    """The model with `start.weights` in it, and what was found told in a table; None where there are none."""
    if experiment.start.weights is None:
        return None
    model = compiling.jit(partial(initial_model, experiment))()
    model, found = weights.start(model, experiment.start.weights)
    report(str(found))
    return model


def first_state(
    experiment: Experiment,
    abstract: State,
    layout: State,
    checkpoint: Path | None,
    report: Callable[[str], None],
) -> State:
    """That of `checkpoint`, or else `start.weights`, or else what the seed draws; on the devices.

    In that order: a run that has lost all its checkpoints starts over, as it did at first.
    """
    if checkpoint is not None:
        return restore(checkpoint, abstract, layout)
    model = started(experiment, report)
    return compiling.jit(partial(initial_state, experiment), out_shardings=layout)(model)


def numbers(experiment: Experiment, abstract: State) -> set[str]:
    """What a validation row tells, by name, before there is one."""
    batch = {
        name: jax.ShapeDtypeStruct(shape, kind)
        for name, (shape, kind) in batch_shapes(experiment.at(0)).items()
    }
    model = jax.eval_shape(partial(evaluated, experiment), abstract)
    sums = jax.eval_shape(evaluation(experiment.objective), model, batch)
    more = {"bits_per_byte"} if experiment.objective.name == "next_token" else set()
    return (sums.keys() - {"outputs"}) | more | set(experiment.task.metrics if experiment.labelled else ())


def validation(experiment: Experiment, corpus: Corpus, directory: Path) -> Callable[[State, Compiled], Row]:
    """Returns what makes a row of the whole validation split; of a GPT a sample, of a task its metrics."""

    @cache
    def split(now: Experiment) -> tuple:
        """Batches of this process, and the sums of all weights."""
        sums = totals(validation_batches(now, corpus.validation))
        return validation_batches(now, corpus.validation, **processes()), sums

    def validate(state: State, program: Compiled) -> Row:
        model = evaluated(experiment, state)
        batches, sums = split(experiment.at(int(state.step) - 1))  # as the step just made had them
        with closing(stream(batches, 0, len(batches))) as read:
            means, outputs = evaluate(model, map(program.feed, shared(read, sums)), program.evaluate)
        row = {"step": int(state.step), "split": "validation", **means}
        if experiment.labelled:
            row |= judged(experiment, corpus, outputs, directory if jax.process_index() == 0 else None)
        if experiment.objective.name == "next_token":
            row["bits_per_byte"] = bits_per_byte(means["loss"], sums["weights"], corpus.validation.bytes)
            if experiment.run.sample:
                key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), SAMPLING)
                row["sample"] = sample_text(model, corpus.tokenizer, experiment.run.sample, key)
        return row

    return validate


def _due(step: int, every: int, last: int) -> bool:
    return bool(every and step % every == 0) or step == last
