"""Evaluates a run's checkpoint, on its own validation split or on other examples."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from research.config import Experiment, Start, Task
from research.data.store.token_store import Corpus
from research.devices.compilers import Compiled
from research.errors import UsageError
from research.objectives import check, objective_of
from research.runs import record
from research.runs.metrics_log import Row
from research.runs.state import State
from research.runs.status import intact_checkpoint
from research.training.evaluating.validation import Keep, validation
from research.training.first_state import restored
from research.training.placement import compile_for
from research.training.teacher import load_teacher, with_teacher

Load = Callable[[State, Compiled], State]  # (shapes, program) → the state to evaluate, on its devices


def evaluate_run(directory: Path, step: int | None, report: Callable[[str], None]) -> Row:
    """Evaluates a checkpoint again (default: the newest); returns its row of metrics.jsonl without a sample.

    Raises UsageError if there is no such checkpoint, or if the data have changed.
    """
    experiment = record.experiment_of(directory)
    experiment = replace(experiment, run=replace(experiment.run, sample=0))
    checkpoint = intact_checkpoint(directory, step)
    corpus = objective_of(experiment.objective).examples(experiment).prepare(report)
    now, then = [corpus.train.sha256, corpus.validation.sha256], record.read(directory).get("data")
    if now != then:
        raise UsageError(f"{directory}: {experiment.data.source} now gives other data than the run's")
    load = partial(_restored, experiment, checkpoint)
    return _row(experiment, corpus, load, lambda *_: None)  # the run already has its predictions


class Predicted(NamedTuple):
    """What a model of a task makes of examples."""

    predictions: Any  # as JSON, in the order of the examples, or by question
    metrics: dict[str, float]  # empty without labels
    probabilities: list[list[float]] | None  # of each example's classes or choices; None of other tasks


def predict(directory: Path, step: int | None, source: str, report: Callable[[str], None]) -> Predicted:
    """Predicts the examples of `source` with a fine-tuned run.

    Reports how many examples the metrics cover,
    if some have no label. Raises UsageError as `evaluate_run` does, and for a run that was not fine-tuned.
    """
    experiment = record.experiment_of(directory)
    checkpoint = intact_checkpoint(directory, step)
    # The run's own tokenizer: the weights that it started from may be gone.
    data = replace(experiment.data, tokenizer=str(directory.absolute()))
    objective = replace(experiment.objective, teacher=None)  # it may be gone, too
    experiment = replace(experiment, data=data, start=Start(), objective=objective)
    prepare = objective_of(experiment.objective).examples(experiment).prepare_test
    if prepare is None:
        raise UsageError(f"{directory}: pre-trained with {experiment.objective.name}; it has no task")
    corpus = prepare(source, lambda line: None)
    return predicted(experiment, corpus, partial(_restored, experiment, checkpoint), report)


def predicted(experiment: Experiment, corpus: Corpus, load: Load, report: Callable[[str], None]) -> Predicted:
    """What the state that `load` makes predicts; see `predict`."""
    kept: list[Any] = []
    row = _row(experiment, corpus, load, lambda *given: kept.extend(given))
    predictions, outputs = kept
    known, rows = int(corpus.validation.known.sum()), len(corpus.validation.known)
    if 0 < known < rows:
        report(f"metrics of {known:,} of {rows:,} rows: the others have no label")
    metrics = {name: row[name] for name in experiment.task.metrics if known}
    probabilities = objective_of(experiment.objective).probabilities
    return Predicted(predictions, metrics, probabilities and probabilities(outputs).tolist())


def answer_lines(task: Task, predictions: list | dict[str, str]) -> Iterator[str]:
    """Yields predictions in the format of GLUE's server: a header, then number or question, tab, answer.

    Classes are numbers with `task.numbered`, else names; scores are clipped to `task.bounds`. The tags of a
    sentence are separated by spaces.
    """
    yield "index\tprediction"
    named = predictions.items() if isinstance(predictions, dict) else enumerate(predictions)
    for name, answer in named:
        yield f"{name}\t{_answer(task, answer)}"


def _answer(task: Task, answer: str | float | list[str]) -> str:
    if isinstance(answer, str):
        return str(task.labels.index(answer)) if task.numbered else answer
    if isinstance(answer, list):
        return " ".join(answer)
    return str(clipped(task, answer))


def clipped(task: Task, score: float) -> float:
    """A score within `task.bounds`, if there are any."""
    return min(max(score, task.bounds[0]), task.bounds[1]) if task.bounds else score


def _row(experiment: Experiment, corpus: Corpus, load: Load, keep: Keep) -> Row:
    check(experiment)
    abstract, program = compile_for(experiment)
    return validation(experiment, corpus, keep)(load(abstract, program), program)


def _restored(experiment: Experiment, checkpoint: Path, abstract: State, program: Compiled) -> State:
    state = restored(experiment, abstract, program.layout, checkpoint)
    return with_teacher(state, program.layout, load_teacher(experiment)[0])
