"""What a task's outputs over its whole validation split come to: answers, and their metrics."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from research.config import Experiment, Task
from research.data.finetuning.classification import known
from research.data.finetuning.question_answering import Spans
from research.data.finetuning.span_decoding import best_answers
from research.data.finetuning.token_classification import Tagged
from research.data.store.token_store import Corpus
from research.io.files import write_atomic
from research.metrics.glue import scores
from research.metrics.squad import score

PREDICTIONS = "predictions.json"


def task_metrics(
    experiment: Experiment, corpus: Corpus, outputs: np.ndarray, directory: Path | None
) -> dict[str, float]:
    """The task's metrics; none where a label is unknown. The answers are kept in `directory`, in order, or
    of spans by question.

    `outputs` (rows, …, K) are those of all validation batches; rows that fill the last one up are at the end.
    """
    outputs = outputs[: len(corpus.validation.labels)]
    kind = experiment.objective.name
    answers, metrics = JUDGES.get(kind, _of_class)(experiment.task, corpus.validation, outputs)
    if directory is not None:
        write_atomic(directory / PREDICTIONS, json.dumps(answers, ensure_ascii=False) + "\n")
    return metrics


def _of_class(task: Task, store: Any, outputs: np.ndarray) -> tuple[list[str], dict[str, float]]:
    """(B, K), or (B, S, 1) of choices."""
    chosen = outputs.reshape(len(outputs), -1).argmax(-1).tolist()
    metrics = task.metrics if known(store.labels) else ()
    return [task.labels[one] for one in chosen], scores(metrics, store.labels.tolist(), chosen)


def _of_score(task: Task, store: Any, outputs_B1: np.ndarray) -> tuple[list[float], dict[str, float]]:
    given = outputs_B1[:, 0].astype(float).tolist()
    metrics = task.metrics if known(store.labels) else ()
    return given, scores(metrics, store.labels.tolist(), given)


def _of_span(task: Task, store: Spans, outputs_WL2: np.ndarray) -> tuple[dict[str, str], dict[str, float]]:
    """In percent, as SQuAD's own script."""
    answers = {name: best[0].text for name, best in best_answers(store, outputs_WL2, task).items()}
    found = score({question.name: question.answers for question in store.questions}, answers)
    return answers, {metric: getattr(found, metric) for metric in task.metrics}


def _of_tag(task: Task, store: Tagged, outputs_BLK: np.ndarray) -> tuple[list[list[str]], dict[str, float]]:
    """A sentence's words each; those that were cut off are of no entity."""
    outside = task.labels.index("O") if "O" in task.labels else 0
    given, right = [], []
    for row, places, labels in zip(outputs_BLK.argmax(-1), store.firsts, store.labels, strict=True):
        asked = places[places < len(row) - 2]
        tags = [*row[asked + 1].tolist(), *[outside] * (len(places) - len(asked))]
        given.append([task.labels[tag] for tag in tags])
        right.append([task.labels[tag] for tag in labels.tolist()])
    return given, scores(task.metrics, right, given)


JUDGES = {"regression": _of_score, "spans": _of_span, "tags": _of_tag}
