"""Training from declaration to result: the one file that meets all others."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax

from research import parallel
from research.config import Experiment
from research.data.batches import stream, train_batches, validation_batches
from research.data.store import Corpus, prepare
from research.files import write_whole
from research.objectives import OBJECTIVES
from research.optimizers import optimizer
from research.training import record
from research.training.checkpoint import Checkpoints
from research.training.evaluate import evaluate, sample_text
from research.training.interrupt import stop_on_signals
from research.training.log import Log
from research.training.metrics import Metrics, Row
from research.training.progress import progress
from research.training.state import State, initial_state
from research.training.step import evaluation_step, train_step

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
    as if it had not been: same batches, same dropout, same bits.
    """
    run = experiment.run
    record.writable(directory)
    corpus = prepare(experiment.data, experiment.model.vocabulary, report)
    batches = train_batches(experiment, corpus.train)
    record.claim(directory, experiment, {"data": corpus.train.sha256 + corpus.validation.sha256})
    write_whole(directory / "tokenizer.json", corpus.tokenizer.to_str())
    compiled = compile_step(experiment)
    checkpoints = Checkpoints(directory / "checkpoints", run.keep)
    state = first_state(experiment, compiled, checkpoints)
    start = int(state.step)
    metrics = Metrics(directory, start)
    if start:
        report(f"continuing from step {start} of {run.steps}")

    try:
        with stop_on_signals() as stop, progress(run.steps, start) as display:
            log = Log(experiment, metrics, display)

            def validate(step: int) -> None:
                log.write(
                    {"step": step, "split": "validation"} | _validation(experiment, corpus, compiled, state)
                )

            if start == 0 and run.evaluate_every:
                validate(0)
            log.resume(start)
            for step, batch in _fed(compiled, batches, start, run.steps):
                state, sums = compiled.step(state, batch)
                display.advance(step)
                log.settle()
                if _due(step, run.log_every, run.steps):
                    log.hold(step, sums)
                evaluating = _due(step, run.evaluate_every, run.steps)
                stopping = bool(stop)
                saving = stopping or _due(step, run.checkpoint_every, run.steps)
                if evaluating or saving:
                    log.pause()
                    if evaluating:
                        validate(step)
                    if saving:
                        metrics.flush()
                        checkpoints.save(step, state)
                    log.resume(step)
                if stopping:
                    break
        checkpoints.finish()
    finally:
        metrics.close()
        checkpoints.close()
    validations = [row for row in metrics.rows if row["split"] == "validation"]
    return Result(
        step=int(state.step),
        signal=stop.signal if int(state.step) < run.steps else None,
        validation=validations[-1] if validations else None,
        unigram_entropy=corpus.validation.unigram_entropy,
    )


def compile_step(experiment: Experiment) -> parallel.Compiled:
    """The experiment's step and evaluation, compiled as it says (on their first call)."""
    objective = OBJECTIVES[experiment.objective.name]
    update = optimizer(experiment.optimizer, experiment.run.steps)
    return parallel.COMPILERS[experiment.parallel.compile](
        partial(train_step, objective=objective, optimizer=update),
        partial(evaluation_step, objective=objective),
    )


def first_state(experiment: Experiment, compiled: parallel.Compiled, checkpoints: Checkpoints) -> State:
    """The run's newest checkpoint, or else the initial state; on the devices."""
    make = partial(initial_state, experiment)
    abstract = jax.eval_shape(make)
    layout = compiled.layout(abstract)
    step = checkpoints.latest()
    if step is None:
        return jax.jit(make, out_shardings=layout)()
    return checkpoints.restore(step, abstract, layout)


def _fed(compiled: parallel.Compiled, batches, start: int, stop: int) -> Iterator[tuple]:
    """(step, batch) from `start` + 1 to `stop`, each batch on its way to the devices a step ahead."""
    ahead = None
    for step, batch in enumerate(stream(batches, start, stop), start + 1):
        batch = compiled.feed(batch)
        if ahead is not None:
            yield ahead
        ahead = step, batch
    if ahead is not None:
        yield ahead


def _validation(experiment: Experiment, corpus: Corpus, compiled: parallel.Compiled, state: State) -> Row:
    batches = validation_batches(experiment, corpus.validation)
    fed = map(compiled.feed, stream(batches, 0, len(batches)))
    row = evaluate(state.model, fed, compiled.evaluate, corpus.validation)
    if experiment.run.sample:
        key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), SAMPLING)
        row["sample"] = sample_text(state.model, corpus.tokenizer, experiment.run.sample, key)
    return row


def _due(step: int, every: int, last: int) -> bool:
    return bool(every and step % every == 0) or step == last
