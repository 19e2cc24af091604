"""The texts that a tokenizer is trained on: the documents of a source, or the texts of a task's examples."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Literal

from research.config import Data, Task
from research.data.sources import documents, records, schemes
from research.data.sources.standardize import IN_CACHES, STANDARDS


def texts(data: Data, split: Literal["train", "all"], task: Task | None) -> Iterator[str]:
    """The texts of a split, in a fixed order; "all" means training and validation.

    Those of a task's examples are their fields and options, with or without a label. Raises UsageError for a
    source that cannot be read, and for an example without the task's fields.
    """
    if task is None:
        yield from documents.documents(data, split)
        return
    clean = STANDARDS[data.standardize]
    yield from map(clean, _of_examples(data.source, "train", task))
    if split == "all" and data.validation is not None:
        yield from map(clean, _of_examples(data.validation, "validation", task))


def fingerprint(data: Data, task: Task | None) -> str:
    """A hash of everything that determines the texts."""
    if task is None:
        return documents.fingerprint(data)
    sources = [data.source, *([] if data.validation is None else [data.validation])]
    identities = [[schemes.identity(one) for one in schemes.joined(text, "data.source")] for text in sources]
    facts = [identities, task.fields, task.options, IN_CACHES[data.standardize]]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _of_examples(source: str, split: str, task: Task) -> Iterator[str]:
    names = {*records.alternatives(*task.fields, task.options or task.fields[0]), records.ENDINGS[0]}
    for where, record in schemes.records(source, names, split):
        for one in records.unfolded(record, where):
            for field in task.fields:
                yield _joined(records.value(one, field, where, "task.fields"))
            if task.options:
                yield from map(str, records.value(one, task.options, where, "task.options"))


def _joined(text: Any) -> str:
    """A text, or the words of a sentence to tag. Another value is an error when the examples are read."""
    return " ".join(map(str, text)) if isinstance(text, list) else str(text)
