"""Find the columns of a typed source of labelled examples that hold the texts and the label."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from research.config import Task
from research.config.names import SCHEMES
from research.data.sources import file_records, files
from research.data.sources.records import alternatives
from research.data.sources.schemes import Source
from research.errors import UsageError
from research.io.compression import format_of

TEXTS = ("text", "sentence", "review", "content", "body", "comment", "tweet", "message", "title", "words")
TEXTS += ("tokens",)
PAIRS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"))
PAIRS += (("text1", "text2"), ("text_a", "text_b"), ("sentence_a", "sentence_b"), ("question", "sentence"))
LABELS = ("label", "labels", "class", "category", "sentiment", "target", "rating", "stars")
LABELS += ("tags", "ner_tags", "tag")


def column_settings(source: Source, task: Task, typed: Collection[str], tags: bool) -> dict[str, Any]:
    """Choose task.fields and task.label if the file lacks the declared columns and they were not `typed`.

    A task of pairs takes both columns of a pair or none, so that it never trains on half of one. Raises
    UsageError, listing the columns, if none has a known name.
    """
    columns = SCHEMES[source.scheme].columns(source)
    path = f"{source.scheme}:{source.name}"
    if source.scheme == "files":
        path = str(files.match(source.name, file_records.SUFFIXES)[0])
    numbered = format_of(path) in file_records.TABLES
    declared = alternatives(*task.fields, task.label)
    known = set(columns)
    if numbered and not known & {name for name in declared if not name.isdecimal()}:
        known |= set(map(str, range(len(columns))))  # a table without a header
        if "task.label" in typed and task.label.isdecimal():
            columns = [str(column) for column in range(len(columns))]
    followed: dict[str, Any] = {}
    label = task.label
    if "task.label" not in typed and not has(known, label):
        found = _label(columns, tags)
        if found is None:
            raise UsageError(_unknown(path, "task.label", label, columns, "COLUMN"))
        followed["task.label"] = label = found
    if "task.fields" not in typed and not all(has(known, field) for field in task.fields):
        others = [name for name in columns if name not in alternatives(label)]
        followed["task.fields"] = _fields(path, task, others, columns)
    return followed


def _label(columns: Sequence[str], tags: bool) -> str | None:
    last = columns[-1:] if tags and columns[0] == "0" else []  # in CoNLL files, tags are the last column
    if len(columns) == 2 and (text := one_of(TEXTS, columns)):
        last = [name for name in columns if name != text]
    return one_of((*LABELS, *last), columns)


def _fields(path: str, task: Task, others: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """One column, or two for a task of pairs, unless the table has only one text."""
    pair, wanted = pair_of(others), ",".join(task.fields)
    if len(task.fields) == 2:
        if pair is None and len(others) != 1:
            raise UsageError(_unknown(path, "task.fields", wanted, columns, "COLUMN,COLUMN"))
        return pair or tuple(others)
    text = text_of(others)
    if text is None:
        form = ",".join(pair) if pair else "COLUMN"
        raise UsageError(_unknown(path, "task.fields", wanted, columns, form))
    return (text,)


def pair_of(columns: Sequence[str]) -> tuple[str, ...] | None:
    """The columns of the first known pair that the file has."""
    found = ((one_of((first,), columns), one_of((second,), columns)) for first, second in PAIRS)
    return next(((first, second) for first, second in found if first and second), None)


def text_of(columns: Sequence[str]) -> str | None:
    """The column of the text: one with a usual name, or the only one."""
    return one_of((*TEXTS, *(columns if len(columns) == 1 else ())), columns)


def has(columns: Collection[str], field: str) -> bool:
    return any(name in columns for name in alternatives(field))


def one_of(names: Iterable[str], columns: Sequence[str]) -> str | None:
    """The first column with one of these names, in their order, ignoring case."""
    spelled = {column.lower(): column for column in reversed(columns)}
    return next((spelled[name.lower()] for name in names if name.lower() in spelled), None)


def _unknown(path: str, setting: str, declared: str, columns: Sequence[str], form: str) -> str:
    shown = ", ".join(column[:30] for column in columns)
    named = format_of(path) in (".parquet", *file_records.JSON)
    number = ", or their numbers from 0" if "," in form else ", or its number from 0"
    more = "" if named or "COLUMN" not in form else number
    return f"{path}: no column {declared} ({setting}); it has {shown}; type {setting}={form}{more}"
