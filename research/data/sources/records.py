"""The values of a record's fields, and the examples of a record that has several."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from research.data.sources.file_records import Record
from research.errors import UsageError, did_you_mean

STORY = tuple(f"InputSentence{n}" for n in range(1, 5))
SWAG = tuple(f"ending{n}" for n in range(4))
ENDINGS = "RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2"


def alternatives(*fields: str) -> list[str]:
    """The names that `fields` list: a|b|… is the first of these columns that a record has."""
    return [name for field in fields for name in field.split("|")]


def value(record: Record, field: str, where: str, setting: str) -> Any:
    """The value of `field`, with bytes decoded.

    Raises UsageError, with the location `where` and the name of the `setting`, for a field that is missing.
    """
    for name in alternatives(field):
        if name in record:
            return plain(record[name])
    # The first row of a table that lacks the field, and so is taken for one without a header.
    header = "0" in record and not field.isdecimal()
    known = [str(cell)[:30] for cell in record.values()] if header else record
    raise UsageError(f"{where}: no field {field} ({setting}){did_you_mean(field, known)}")


def text(record: Record, field: str, where: str, setting: str) -> str:
    """The text of a field. Raises UsageError as `value` does, and for a value of another type."""
    found = value(record, field, where, setting)
    if not isinstance(found, str):
        raise UsageError(f"{where}: field {field} is not a text but {found!r:.40} ({setting})")
    try:
        found.encode()
    except UnicodeEncodeError as fault:  # JSON can escape an unpaired surrogate
        raise UsageError(f"{where}: \\u{ord(found[fault.start]):04x} is an unpaired surrogate") from fault
    return found


def plain(value: Any) -> Any:
    """Convert bytes and NumPy values to strings, numbers, lists and dicts."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def unfolded(record: Record, where: str) -> Iterator[Record]:
    """RACE asks several questions of an article; StoryCloze and SWAG keep sentences and endings apart.

    The label is None in test sets, which have no answers.
    """
    if {"article", "questions", "options"} <= record.keys() and not isinstance(record["questions"], str):
        yield from _questions(record, where)
    elif ENDINGS[0] in record:
        yield {
            "context": " ".join(text(record, name, where, "task.fields") for name in STORY),
            "endings": [text(record, name, where, "task.options") for name in ENDINGS],
            "label": record.get("AnswerRightEnding"),
        }
    elif SWAG[0] in record and "endings" not in record:
        yield {**record, "endings": [text(record, name, where, "task.options") for name in SWAG]}
    else:
        yield record


def _questions(record: Record, where: str) -> Iterator[Record]:
    questions, options = (plain(record[name]) for name in ("questions", "options"))
    answers = plain(record.get("answers")) or [None] * len(questions)
    if not len(questions) == len(options) == len(answers):
        counts = f"{len(questions)} questions, {len(options)} lists of options, {len(answers)} answers"
        raise UsageError(f"{where}: {counts}; expected as many of each")
    for question, choices, answer in zip(questions, options, answers, strict=True):
        yield {"article": record["article"], "question": question, "options": choices, "label": answer}
