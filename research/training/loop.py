"""Training from declaration to result: the one file that meets all others."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from research import weights
from research.config import Experiment
from research.data.batches import stream, train_batches, validation_batches
from research.data.store import Corpus, prepare
from research.errors import EnvironmentFault
from research.files import write_whole
from research.objectives import objective
from research.parallel import Compiled, compiled
from research.training import record
from research.training.checkpoint import Checkpoints
from research.training.evaluate import bits_per_byte, evaluate, sample_text, shared, totals
from research.training.interrupt import stop_on_signals
from research.training.log import Log
from research.training.metrics import Metrics, Row
from research.training.progress import progress
from research.training.state import State, evaluated, initial_model, initial_state
from research.training.step import step_of

SAMPLING = 1  # folded into a state's key for its sample, so that no step's dropout has the same numbers


class Result(NamedTuple):
    """What a call to `train` ended with."""

    step: int
    signal: int | None  # that stopped it before its last step
    validation: Row | None  # the last one
    unigram_entropy: float  # of the validation tokens, nats: what a model that knows only frequencies pays


def train(experiment: Experiment, directory: Path, report: Callable[[str], None]) -> Result:
    """Starts the run in `directory`, or continues it from its newest checkpoint.

    Everything that decides a number is a function of (experiment, step), so a run that was stopped goes on
    as if it had not been: same batches, same dropout, same bits. Of several processes, each reads its rows
    and writes its part of a checkpoint; the first one writes all else.
    """
    run, first = experiment.run, jax.process_index() == 0
    known = first and record.examine(directory, experiment)
    corpus = prepare(experiment.data, experiment.model.vocabulary, report)
    batches = train_batches(experiment, corpus.train, **processes())
    validate = _validation(experiment, corpus)
    abstract, program = compile_step(experiment)
    # Before the directory is claimed: weights that do not fit leave nothing behind.
    model = None if known else started(experiment, report)
    if first:
        record.claim(directory, experiment, {"data": [corpus.train.sha256, corpus.validation.sha256]})
        write_whole(directory / "tokenizer.json", corpus.tokenizer.to_str())

    with Checkpoints(directory / "checkpoints", run.keep) as checkpoints:
        checkpoints.see_to_space(abstract)
        state = first_state(experiment, abstract, program.layout, checkpoints, model, report)
        del model  # its memory is the state's, or not needed
        step = start = int(state.step)
        if start:
            report(f"continuing from step {start} of {run.steps}")
        with (
            Metrics(directory, start, writes=first) as metrics,
            progress(run.steps, start, shown=first) as display,
            stop_on_signals() as stop,
        ):
            log = Log(experiment, metrics, display)
            if start == 0 and run.evaluate_every:
                log.write(validate(state, program))
            log.resume(start)
            for step, batch in _fed(program, batches, start, run.steps):
                state, sums = program.step(state, batch)
                display.advance(step)
                log.settle()
                if _due(step, run.log_every, run.steps):
                    log.hold(step, sums)
                stopping = bool(stop)
                evaluating = _due(step, run.evaluate_every, run.steps)
                saving = stopping or _due(step, run.checkpoint_every, run.steps)
                if evaluating or saving:
                    log.pause()
                    if run.stop_on_nan:
                        _check(experiment, state)
                    if evaluating:
                        log.write(validate(state, program))
                    if saving:
                        metrics.flush()
                        checkpoints.save(step, state)
                    log.resume(step)
                if stopping:
                    break
    return Result(
        step=step,
        signal=stop.signal if step < run.steps else None,
        validation=next((row for row in reversed(metrics.rows) if row["split"] == "validation"), None),
        unigram_entropy=corpus.validation.unigram_entropy,
    )


def processes() -> dict[str, int]:
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def _check(experiment: Experiment, state: State) -> None:
    """Raises where an update was skipped because it was not finite."""
    if (broken := int(state.guard.broken)) >= 0:
        raise EnvironmentFault(
            f"step {broken}: the loss or its gradient is not finite (run.stop_on_nan); "
            f"look at its batch: lineage batch {experiment.name} --step {broken}"
        )


def compile_step(experiment: Experiment) -> tuple[State, Compiled]:
    """The state's shapes, and the experiment's step and evaluation as it says (compiled when called)."""
    abstract = jax.eval_shape(partial(initial_state, experiment))
    step, evaluation = step_of(experiment), objective(experiment.objective)
    return abstract, compiled(experiment.parallel, step, evaluation, abstract)


def started(experiment: Experiment, report: Callable[[str], None]) -> Any:
    """The model with `start.weights` in it, and what was found told in a table; None where there are none."""
    if experiment.start.weights is None:
        return None
    model = jax.jit(partial(initial_model, experiment))()
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
    """The run's newest checkpoint, or else `start.weights`, or else what the seed draws; on the devices."""
    step = checkpoints.latest()
    if step is not None:
        return checkpoints.restore(step, abstract, layout)
    model = started(experiment, report) if model is None else model
    return jax.jit(partial(initial_state, experiment), out_shardings=layout)(model)


def _fed(program: Compiled, batches, start: int, stop: int) -> Iterator[tuple]:
    """(step, batch) from `start` + 1 to `stop`, each batch on its way to the devices a step ahead."""
    with closing(stream(batches, start, stop)) as read:
        ahead = None
        for step, batch in enumerate(map(program.feed, read), start + 1):
            if ahead is not None:
                yield ahead
            ahead = step, batch
        if ahead is not None:
            yield ahead


def _validation(experiment: Experiment, corpus: Corpus) -> Callable[[State, Compiled], Row]:
    """Returns what makes a row of the whole validation split and, of a GPT, a sample."""
    batches = validation_batches(experiment, corpus.validation, **processes())
    sums = totals(validation_batches(experiment, corpus.validation))

    def validate(state: State, program: Compiled) -> Row:
        model = evaluated(experiment, state)
        with closing(stream(batches, 0, len(batches))) as read:
            means = evaluate(model, map(program.feed, shared(read, sums)), program.evaluate)
        row = {"step": int(state.step), "split": "validation", **means}
        if experiment.objective.name == "next_token":
            row["bits_per_byte"] = bits_per_byte(means["loss"], sums["weights"], corpus.validation.bytes)
            if experiment.run.sample:
                key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), SAMPLING)
                row["sample"] = sample_text(model, corpus.tokenizer, experiment.run.sample, key)
        return row

    return validate


def _due(step: int, every: int, last: int) -> bool:
    return bool(every and step % every == 0) or step == last
