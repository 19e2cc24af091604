"""Evaluates a state on the whole validation split, for a row of the metrics log."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cache, partial
from typing import Any

import grain
import jax
import numpy as np

from research.config import Data, Experiment
from research.data.batches import stream, validation_batches
from research.data.examples import Batch
from research.data.store.token_store import Corpus
from research.devices.compilers import Compiled
from research.errors import UsageError
from research.io.activity import activity, count
from research.objectives import Objective, evaluation_loss, objective_of
from research.runs.metrics_log import Row
from research.runs.state import State, evaluation_params
from research.training.evaluating import evaluators
from research.training.evaluating.evaluation import (
    bits_per_byte,
    evaluate,
    sample_text,
    shared,
    totals,
)
from research.training.step import read_by_loss

SAMPLING = 1  # folded into a state's key for its sample, so that no step's dropout has the same numbers


def validation_numbers(experiment: Experiment, abstract: State) -> set[str]:
    """The names of the numbers in a validation row, before one exists."""
    objective = objective_of(experiment.objective)
    shapes = objective.batch_shapes(replace(experiment, data=experiment.data.at_step(0)))
    batch = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in shapes.items()}
    batch |= read_by_loss(abstract, objective.reads_step)
    model = jax.eval_shape(partial(evaluation_params, experiment), abstract)
    sums = jax.eval_shape(evaluation_loss(experiment.objective), model, batch)
    known = sums.keys() - {"outputs"} | ({"bits_per_byte"} if objective.per_byte else set())
    known |= set(experiment.task.metrics if objective.supervised else ())
    further = evaluators.names_of(experiment)
    if taken := next((name for name in further if name in known), None):
        raise UsageError(f"run.evaluators={further[taken]}: {taken} is measured anyway; choose another name")
    return known | further.keys()


Keep = Callable[[Any, np.ndarray], None]  # (predictions as JSON, outputs of the split's rows)


def validation(experiment: Experiment, corpus: Corpus, keep: Keep) -> Callable[[State, Compiled], Row]:
    """Returns the function that evaluates a state on the whole validation split.

    Its row has the means of the objective's sums and, depending on the objective, task metrics, bits per byte
    and sampled text. The first process gives a task's predictions and outputs to `keep`.
    """
    objective, first = objective_of(experiment.objective), jax.process_index() == 0
    examples = objective.examples(experiment)
    measure = evaluators.measuring(experiment, corpus.tokenizer)

    @cache
    def split(data: Data) -> tuple:
        """Batches of this process, the total weights of the split, and batches of all processes' rows."""
        whole = validation_batches(examples, data, corpus.validation)
        return validation_batches(examples, data, corpus.validation, **processes()), totals(whole), whole

    def validate(state: State, program: Compiled) -> Row:
        model = evaluation_params(experiment, state)
        with activity("evaluating") as show:
            # As in the step just made.
            batches, sums, whole = split(experiment.data.at_step(int(state.step) - 1))
            with closing(stream(batches, 0, len(batches))) as read:
                counted = count(map(program.feed, shared(read, sums)), len(batches), show)
                means, outputs = evaluate(model, counted, _evaluation(objective, state, program))
            row = {"step": int(state.step), "split": "validation", **means}
            row |= measure(model, partial(_all_of, whole))
        if objective.predict is not None and outputs is not None:
            outputs = outputs[: len(corpus.validation.labels)]  # without the rows that fill the last batch
            predictions, metrics = objective.predict(experiment.task, corpus.validation, outputs)
            row |= metrics
            if first:
                keep(predictions, outputs)
        if objective.per_byte:
            loss = means.get("hard_loss", means["loss"])  # without a teacher's part
            row["bits_per_byte"] = bits_per_byte(loss, sums["weights"], corpus.validation.bytes)
        if objective.generates and experiment.run.sample and row["step"]:  # at step 0 it is noise
            key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), SAMPLING)
            with activity("sampling a text"):
                row["sample"] = sample_text(model, corpus.tokenizer, experiment.run.sample, key)
        return row

    return validate


def _all_of(batches: grain.MapDataset[Batch]) -> Iterator[Batch]:
    with closing(stream(batches, 0, len(batches))) as read:
        yield from read


def _evaluation(objective: Objective, state: State, program: Compiled) -> Callable:
    """(model, batch) → sums, with the state's hyperparameters and what the loss reads of it."""
    values = () if state.hyperparameters is None else (state.hyperparameters,)
    read = read_by_loss(state, objective.reads_step)
    return lambda model, batch: program.evaluate(model, batch | read, *values)


def processes() -> dict[str, int]:
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}
