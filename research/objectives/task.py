"""Shared code of objectives with labelled examples: checks, batch shapes, synthetic batches."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from research.config import Experiment, Model, Objective
from research.errors import UsageError
from research.objectives.objective import (
    Rows,
    Shapes,
    bidirectional,
    halves,
    objective_of,
    refuse_attention_in_documents,
    refuse_gpts_settings,
)

COUNTS = ("none", "one", "two")
ONE_OR_PAIR = (1, 2)  # texts of an example; a pair may be read in both orders


def check_task(
    experiment: Experiment,
    *,
    fields: tuple[int, ...] = (),
    labels: bool = True,
    options: bool = False,
) -> None:
    """Raises UsageError if the sections of a fine-tuning experiment do not fit.

    `fields`: allowed numbers of texts per example (empty: any); `labels`: whether classes are named;
    `options`: whether examples list choices.
    """
    refuse_attention_in_documents(experiment.data)
    refuse_gpts_settings(experiment.model)
    name, task = experiment.objective.name, experiment.task
    if not task.fields:
        raise UsageError(f"task.fields: objective.name={name} needs the fields of its texts")
    if labels and len(task.labels) < 2:
        raise UsageError(f"task.labels={','.join(task.labels)}: expected two or more")
    if options != bool(task.options):
        raise UsageError(f"task.options={task.options}: expected a field only with objective.name=choice")
    if fields and len(task.fields) not in fields:
        expected = " or ".join(COUNTS[count] for count in fields)
        raise UsageError(f"task.fields={','.join(task.fields)}: expected {expected}")
    if task.orders == "both" and not (fields == ONE_OR_PAIR and len(task.fields) == 2):
        raise UsageError("task.orders=both: expected two fields to classify or to score")
    _check_record(experiment)
    _check_auxiliary(experiment.objective, experiment.model)
    if experiment.data.validation is None:
        raise UsageError("data.validation: expected a source, as data.source is one")
    if experiment.data.later.step:
        raise UsageError("data.later.step: only for pre-training; expected 0")


def _check_record(experiment: Experiment) -> None:
    """Metrics and the model's head must be among those of the objective's record."""
    name, task, model = experiment.objective.name, experiment.task, experiment.model
    objective = objective_of(experiment.objective)
    for metric in task.metrics:
        if metric not in objective.metrics:
            known = ", ".join(objective.metrics)
            raise UsageError(f"task.metrics={metric}: not for {name}; expected some of {known}")
    if not task.metrics:
        raise UsageError("task.metrics: expected one or more")
    outputs = objective.outputs(task)
    if (model.head, model.outputs) != (objective.head, outputs):
        raise UsageError(
            f"model.head={model.head}, model.outputs={model.outputs}: objective.name={name} with its "
            f"{len(task.labels)} task.labels needs {objective.head}, {outputs}"
        )


def _check_auxiliary(settings: Objective, model: Model) -> None:
    if settings.auxiliary and bidirectional(model):
        raise UsageError("objective.auxiliary: a bert has no next-token loss; expected 0")
    if settings.auxiliary_positions and model.positions != "learned":
        raise UsageError(f"objective.auxiliary_positions=true: model.positions={model.positions} has no rows")


def task_shapes(experiment: Experiment) -> Shapes:
    """Shapes of a batch with a class for every example.

    `lengths` exclude padding. Bidirectional families have `segments`. `auxiliary_weights` weigh the
    prediction of each next token and sum to 1 per sequence. Batches of shorter sequences may have a smaller
    L.
    """
    B, S, L = experiment.data.batch, experiment.task.sequences, experiment.data.length
    shapes: Shapes = {"tokens": ((B, S, L), np.int32), "lengths": ((B, S), np.int32)}
    if bidirectional(experiment.model):
        shapes["segments"] = ((B, S, L), np.int32)
    elif experiment.objective.auxiliary:
        shapes["auxiliary_weights"] = ((B, S, L), np.float32)
    return shapes | {"labels": ((B,), np.int32), "label_weights": ((B,), np.float32)}


def task_tokenizer(experiment: Experiment) -> Callable[[], Any]:
    """A function that opens the tokenizer of labelled examples."""
    from research.data.tokenizers.for_task import tokenizer_of

    e = experiment
    return partial(tokenizer_of, e.data, e.task, e.start, e.model.vocabulary)


def synthetic_task(
    experiment: Experiment, random: np.random.Generator, rows: Rows, classes: Callable[[Experiment], int]
) -> dict[str, np.ndarray]:
    """Full sequences with all weights 1, the most expensive batch; labels are below `classes`."""
    shapes = objective_of(experiment.objective).batch_shapes(experiment)
    batch = {name: np.ones(shape, dtype) for name, (shape, dtype) in shapes.items()}
    B, S, L = batch["tokens"].shape
    batch["tokens"] = rows(B * S, L).reshape(B, S, L)
    batch["lengths"] *= L
    if "segments" in batch:
        batch["segments"] = halves(B * S, L).reshape(B, S, L)
    labels = batch["labels"]
    batch["labels"] = (classes(experiment) * random.random(labels.shape)).astype(labels.dtype)
    return batch


def predicts_tokens(experiment: Experiment) -> float:
    """The field `predicted` of a record: only an auxiliary loss uses the output table."""
    return float(experiment.objective.auxiliary > 0)
