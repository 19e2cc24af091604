"""Predictions of a fine-tuned run, or of fine-tuned weights, for the examples of a source."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from research import weights
from research.config import Data, Experiment, Objective, Optimizer, Parallel, Run, Schedule, Task
from research.data.finetuning.found_task import Named, found_task, match_labels
from research.data.finetuning.labels import listed
from research.data.tokenizers.for_task import as_tokenizer, beside
from research.devices.compilers import Compiled
from research.errors import UsageError
from research.io.hub import PREFIX, TOKENIZER, located
from research.metrics.entities import TAG
from research.objectives import objective_of
from research.runs import record
from research.runs.state import State
from research.runs.status import split_step
from research.training.evaluating import evaluate_run
from research.training.evaluating.prediction_rows import given_columns, with_columns
from research.training.first_state import drawn
from research.weights.formats.huggingface_head import LABELED
from research.weights.layout import TaskHead

BATCH = 8  # examples evaluated together
WINDOW = 384  # tokens of a question and a part of its text, as in Google's and Hugging Face's scripts


class Predictions(NamedTuple):
    task: Task
    predictions: Any  # in the order of the examples, or by question
    metrics: dict[str, float]  # empty without labels
    columns: list[str]  # of `rows`
    rows: list[dict[str, Any]]  # each example's columns, its prediction and its classes' probabilities


def answers(
    target: str,
    source: str,
    report: Callable[[str], None],
    named: Named = Named(),  # noqa: B008  (it is immutable)
    tokenizer: str | None = None,
    with_rows: bool = False,
) -> Predictions:
    """Predict the examples of `source` with a run ("runs/sst2", "runs/sst2:300") or with weights.

    A run has its task; for weights, the columns of the source are found or `named`, and the tokenizer is
    that beside them or the given one. `rows` are empty unless `with_rows`. Raises UsageError for a target
    without a task's head, and for examples or labels that do not fit it.
    """
    directory, step = split_step(target)
    if step is not None or (directory / record.FILE).exists():
        if named != Named() or tokenizer is not None:
            raise UsageError(f"{target}: a run has its own columns and tokenizer; expected weights")
        experiment = record.experiment_of(directory, warn=False)
        records = given_columns(source, experiment) if with_rows else None
        found = evaluate_run.predict(directory, step, source, report)
        return _predictions(experiment.task, found, records)
    head = _named_head(target, named)
    experiment = _experiment(target, head, source, named, tokenizer)
    records = given_columns(source, experiment) if with_rows else None
    if head.objective in LABELED:
        for note in match_labels(source, experiment.task, head.objective == "tags"):
            report(note)
    prepare = objective_of(experiment.objective).examples(experiment).prepare_test
    assert prepare is not None  # every objective of a task's head has it
    corpus = prepare(source, lambda line: None)
    if head.objective == "tags":  # whose batches are as long as data.length
        longest = max(map(len, corpus.validation.tokens)) + 2
        experiment = replace(
            experiment, data=replace(experiment.data, length=min(longest, experiment.data.length))
        )
    if not corpus.validation.known.any():
        report(f"no labels in a column {experiment.task.label} (--label), so no metrics")
    found = evaluate_run.predicted(experiment, corpus, partial(_loaded, target, experiment), report)
    return _predictions(experiment.task, found, records)


def _predictions(
    task: Task, found: evaluate_run.Predicted, records: list[dict[str, Any]] | None
) -> Predictions:
    columns, rows = with_columns(task, found, records) if records is not None else ([], [])
    return Predictions(task, found.predictions, found.metrics, columns, rows)


def _named_head(target: str, named: Named) -> TaskHead:
    """The head of weights, with the classes that the user names."""
    head = weights.task_head_of(target)
    if named.labels and head.objective not in LABELED:
        raise UsageError(f"--labels {','.join(named.labels)}: {target} has {head.objective}, not classes")
    if named.labels and len(set(named.labels)) != len(head.labels):
        has = f"{target} has {len(head.labels)} classes, {listed(head.labels)}"
        raise UsageError(f"--labels {','.join(named.labels)}: {has}; expected as many different names")
    return head._replace(labels=named.labels or head.labels)


def _experiment(target: str, head: TaskHead, source: str, named: Named, tokenizer: str | None) -> Experiment:
    """An experiment of one step, to evaluate and not to train."""
    model, task = weights.model_of(target), found_task(source, head.objective, head.labels, named)
    if tokenizer is None:
        if beside(located(target, TOKENIZER)) is None:
            raise UsageError(f"{target}: no tokenizer beside the weights; pass --tokenizer NAME|PATH")
        tokenizer = target if target.startswith(PREFIX) else as_tokenizer(str(Path(target).absolute()))
    length = min(model.context, WINDOW) if head.objective == "spans" else model.context
    return Experiment(
        model=model,
        data=Data(source=source, validation=source, tokenizer=tokenizer, batch=BATCH, length=length),
        objective=Objective(name=head.objective),
        task=replace(task, metrics=_metrics(head, task)),
        optimizer=Optimizer(name="sgd", b1=0.0, rate=Schedule(name="constant", peak=1.0)),
        run=Run(steps=1, sample=0),
        parallel=Parallel(compile="jit", data=1, accumulate=1),
    )


def _metrics(head: TaskHead, task: Task) -> tuple[str, ...]:
    if head.objective == "spans":
        more = ("has_answer_f1", "no_answer_accuracy", "best_f1", "best_f1_threshold", "best_exact_match")
        return ("f1", "exact_match", *(more if task.unanswerable else ()))
    if head.objective == "classification":
        return ("accuracy", "f1", "matthews") if len(task.labels) == 2 else ("accuracy",)
    if head.objective == "tags":
        return ("f1", "accuracy") if all(map(TAG.fullmatch, task.labels)) else ("accuracy",)
    return objective_of(Objective(name=head.objective)).metrics


def _loaded(target: str, experiment: Experiment, abstract: State, program: Compiled) -> State:
    loaded = weights.load(target)
    if loaded.report.missing:
        raise UsageError(f"{target}: has no {next(iter(loaded.report.missing))}, which its task needs")
    return drawn(experiment, program.layout, loaded.model)
