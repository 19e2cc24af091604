"""Predictions of a fine-tuned run, or of fine-tuned weights, for examples given in Python."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from research import weights
from research.api.answers import answers
from research.api.running import keep_compiled
from research.config import Task
from research.errors import UsageError
from research.objectives import objective_of
from research.runs import record
from research.runs.status import split_step

# A text, the texts of a pair, the words of a sentence to tag, or the fields of a row by name.
Example = str | Sequence[str] | Mapping[str, Any]


def predict(target: str | Path, examples: Sequence[Example], tokenizer: str | None = None) -> list[Any]:
    """Predict `examples`, in their order, with a fine-tuned run ("runs/sst2", "runs/sst2:300") or weights.

    A prediction is a label, a score, the tags of a sentence's words, or the answer to a question. An example
    is a text, a pair of texts (a question and its context), the words of a sentence, or a mapping with the
    fields of the run's task. Weights are a directory or "hub:OWNER/NAME"; `tokenizer` replaces the one beside
    them. Raises UsageError for a target that was not fine-tuned, and for an example that does not fit its
    task.
    """
    keep_compiled()
    if isinstance(examples, str) or not examples:
        raise UsageError("predict: expected a list with at least one example")
    objective, task = _task(str(target), examples)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "examples.json" if objective == "spans" else "examples.jsonl")
        if objective == "spans":
            file.write_text(json.dumps(_questions(examples)), encoding="utf-8")
        else:
            rows = [_row(number, one, task, objective == "tags") for number, one in enumerate(examples)]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found = answers(str(target), f"files:{file}", lambda line: None, tokenizer=tokenizer).predictions
    return [found[str(number)] for number in range(len(examples))] if objective == "spans" else found


def _task(target: str, examples: Sequence[Example]) -> tuple[str, Task]:
    """The objective of a run or of weights, and its task; of weights, with fields for the first example."""
    directory, step = split_step(target)
    if step is None and not (directory / record.FILE).exists():
        objective, first = weights.task_head_of(target).objective, examples[0]
        if objective == "choice":
            return objective, Task(fields=("context",), options="options")
        if objective == "tags":
            return objective, Task(fields=("words",))
        return objective, Task(fields=("text",) if isinstance(first, str) else ("text1", "text2"))
    experiment = record.experiment_of(directory)
    if not objective_of(experiment.objective).supervised:
        raise UsageError(f"{target}: pre-trained with {experiment.objective.name}; it has no task")
    return experiment.objective.name, experiment.task


def _row(number: int, example: Example, task: Task, tags: bool) -> dict[str, Any]:
    """The example as a mapping from the task's fields."""
    if isinstance(example, Mapping):
        return dict(example)
    names = [field.partition("|")[0] for field in task.fields]  # the first of its alternative names
    texts = [list(example)] if tags else [example] if isinstance(example, str) else list(example)
    if len(texts) != len(names) or task.options:
        options = "" if not task.options else f" and {task.options}, by name"
        raise UsageError(f"predict: example {number}: expected {', '.join(names)}{options}")
    return dict(zip(names, texts, strict=True))


def _questions(examples: Sequence[Example]) -> dict[str, Any]:
    """The examples in SQuAD's format, with numbers as ids."""
    paragraphs = []
    for number, example in enumerate(examples):
        if isinstance(example, Mapping):
            question, context = example.get("question"), example.get("context")
        else:
            question, context = (
                example if len(example) == 2 and not isinstance(example, str) else (None, None)
            )
        if not isinstance(question, str) or not isinstance(context, str):
            raise UsageError(f"predict: example {number}: expected a question and its context")
        asked = {"id": str(number), "question": question, "answers": []}
        paragraphs.append({"context": context, "qas": [asked]})
    return {"data": [{"title": "", "paragraphs": paragraphs}]}
