"""Settings that a typed source of labelled examples decides: columns, labels, a validation split."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from research.config import Data, Task
from research.config.names import SCHEMES
from research.data.finetuning.labels import NO_LABEL, class_of
from research.data.sources import files, labelled_files, records
from research.data.sources.schemes import Source, chain
from research.errors import LineageWarning, UsageError
from research.metrics.entities import TAG

TEXTS = ("text", "sentence", "review", "content", "body", "comment", "tweet", "message", "title", "words")
TEXTS += ("tokens",)
LABELS = ("label", "labels", "class", "category", "sentiment", "target", "rating", "stars")
LABELS += ("tags", "ner_tags", "tag")
CLASSES = 200  # maximum number of labels to treat as classes
HIDDEN = -1  # label of test sets with hidden labels
HELD_OUT = 0.1  # share of the examples held out if there is only one file


def label_settings(
    data: Data, task: Task, typed: Collection[str], *, classes: bool, tags: bool
) -> tuple[dict[str, Any], int]:
    """{setting: value} that follow from a typed `data.source` (columns, labels, validation); and its number
    of examples, 0 if it decides nothing.

    `classes`: labels are classes, else scores; `tags`: one label per word, else per example. Declared columns
    and labels are kept if the file has them, and `typed` settings always. Raises UsageError, listing the
    columns, if none has a known name.
    """
    sources = chain(data.source, "data.source")
    if any(SCHEMES[source.scheme].columns is None for source in sources):
        return {}, 0
    followed = _columns(sources[0], task, typed, tags)
    task = replace(task, **{name.removeprefix("task."): value for name, value in followed.items()})
    names = {name for field in (*task.fields, task.label) for name in field.split("|")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LineageWarning)  # training reads them again and warns
        examples, places, counts = _counted(records.read(data.source, names, "train"), task.label, tags)
    if classes and "task.labels" not in typed:
        followed |= _labels(data.source, task, places, counts, typed, tags)
    if "data.validation" not in typed and len(sources) == 1 and examples > 1:
        followed |= _validation(data.source, sources[0], examples)
    return followed, examples


def _columns(source: Source, task: Task, typed: Collection[str], tags: bool) -> dict[str, Any]:
    """The columns of texts and of the label, if the file lacks the declared ones."""
    columns = SCHEMES[source.scheme].columns(source)
    path = f"{source.scheme}:{source.name}"
    if source.scheme == "files":
        path = str(files.match(source.name, labelled_files.SUFFIXES)[0])
    declared = {name for field in (*task.fields, task.label) for name in field.split("|")}
    known = set(columns)
    if not known & {name for name in declared if not name.isdecimal()}:
        known |= set(map(str, range(len(columns))))  # a table without a header
        if "task.label" in typed and task.label.isdecimal():
            columns = [str(column) for column in range(len(columns))]
    followed: dict[str, Any] = {}
    label = task.label
    if "task.label" not in typed and not _has(known, label):
        last = columns[-1:] if tags and columns[0] == "0" else []  # tags are the last of CoNLL's columns
        if len(columns) == 2 and (text := _one_of(TEXTS, columns)):
            last = [name for name in columns if name != text]
        found = _one_of((*LABELS, *last), columns)
        if found is None:
            raise UsageError(_unknown(path, "task.label", label, columns))
        followed["task.label"] = label = found
    if "task.fields" not in typed and not all(_has(known, field) for field in task.fields):
        others = [name for name in columns if name not in label.split("|")]
        text = _one_of((*TEXTS, *(others if len(others) == 1 else ())), others)
        if text is None:
            raise UsageError(_unknown(path, "task.fields", ",".join(task.fields), columns))
        followed["task.fields"] = (text,)
    return followed


def _labels(
    source: str, task: Task, places: int, counts: Counter[str], typed: Collection[str], tags: bool
) -> dict[str, Any]:
    """The labels of the examples, if they differ from the declared ones."""
    if not counts or all(_fits(name, task) for name in counts):
        return {}
    if len(counts) > CLASSES or len(counts) == places > 2:
        raise UsageError(
            f"{source}: column {task.label} has {len(counts):,} labels in {places:,} places; "
            "expected classes (task.labels); choose another with task.label=COLUMN, or, for scores, "
            "objective.name=regression model.outputs=1 task.metrics=pearson"
        )
    labels = tuple(sorted(counts, key=lambda name: (name != "O", _number(name), name)))
    followed: dict[str, Any] = {"task.labels": labels}
    if "task.metrics" not in typed:
        entities = tags and all(TAG.fullmatch(name) for name in labels)
        followed["task.metrics"] = ("f1", "accuracy") if entities else ("accuracy",)
    if task.numbered and "task.numbered" not in typed:
        followed["task.numbered"] = False
    return followed


def _counted(
    found: Iterable[tuple[str, records.Record]], field: str, tags: bool
) -> tuple[int, int, Counter[str]]:
    """(examples, places for a label, how often each label is in one)."""
    examples, places, counts = 0, 0, Counter()
    for _, record in found:
        values = _values(record, field, tags)
        examples, places = examples + 1, places + len(values)
        counts.update(str(value) for value in values if value not in NO_LABEL and value != HIDDEN)
    return examples, places, counts


def _values(record: records.Record, field: str, tags: bool) -> list[Any]:
    value = next((records.plain(record[name]) for name in field.split("|") if name in record), None)
    return value if tags and isinstance(value, list) else [value]


def _validation(text: str, source: Source, examples: int) -> dict[str, str]:
    """The published split, or a random tenth of the examples, and the rest to train on."""
    published = (SCHEMES[source.scheme].published or _none)(source)
    if source.split in ("", "train") and "validation" in published:
        return {"data.validation": published["validation"]}
    return _held_out(text if source.split else published.get("train", text), examples)


def _none(source: Source) -> dict[str, str]:
    return {}


def _held_out(source: str, examples: int) -> dict[str, str]:
    count = max(1, round(HELD_OUT * examples))
    return {"data.source": f"rest:{count}:0:{source}", "data.validation": f"drawn:{count}:0:{source}"}


def _fits(label: str, task: Task) -> bool:
    try:
        class_of(label, task, "")
    except UsageError:
        return False
    return True


def _number(name: str) -> float:
    try:
        return float(name)
    except ValueError:
        return 0.0


def _has(columns: Collection[str], field: str) -> bool:
    return any(name in columns for name in field.split("|"))


def _one_of(names: Iterable[str], columns: Sequence[str]) -> str | None:
    """The column of the first of these names that exists, ignoring case."""
    spelled = {column.lower(): column for column in reversed(columns)}
    return next((spelled[name.lower()] for name in names if name.lower() in spelled), None)


def _unknown(path: str, setting: str, declared: str, columns: Sequence[str]) -> str:
    shown = ", ".join(column[:30] for column in columns)
    named = path.endswith((".parquet", ".json", *files.JSON_LINES))
    number = "" if named else ", or its number from 0"
    return f"{path}: no column {declared} ({setting}); it has {shown}; type {setting}=COLUMN{number}"
