"""Settings that a typed source of labelled examples decides: columns, labels, a validation split."""

import warnings
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from research.config import Data, Task
from research.config.names import SCHEMES
from research.data.finetuning.labels import NO_TAG, as_number, exact_class, is_empty
from research.data.finetuning.own_columns import column_settings
from research.data.sources import records, schemes
from research.data.sources.file_records import Record, Records
from research.data.sources.schemes import Source
from research.errors import LineageWarning, UsageError
from research.metrics.entities import TAG

CLASSES = 200  # maximum number of labels to treat as classes
HIDDEN = -1  # label of test sets with hidden labels
HELD_OUT = 0.1  # share of the examples held out if there is only one file


class Counted(NamedTuple):
    """The labels of a source."""

    examples: int
    places: int  # number of labels, missing ones included
    names: Counter[str]  # how often each label occurs
    lowest: float  # of labels that are numbers
    highest: float


def label_settings(
    data: Data, task: Task, typed: Collection[str], *, classes: bool, tags: bool
) -> tuple[dict[str, Any], int]:
    """{setting: value} that follow from a typed `data.source` (columns, labels, bounds of scores,
    validation), and its number of examples; 0 if nothing follows.

    `classes`: labels are classes, else scores; `tags`: one label per word, else per example. Declared columns
    and labels are kept if the file has them, and `typed` settings always. Raises UsageError, listing the
    columns, if none has a known name.
    """
    sources = schemes.joined(data.source, "data.source")
    if any(SCHEMES[source.scheme].columns is None for source in sources):
        return {}, 0
    followed = column_settings(sources[0], task, typed, tags)
    task = replace(task, **{name.removeprefix("task."): value for name, value in followed.items()})
    names = records.alternatives(*task.fields, task.label)
    hides = classes and any(source.scheme != "files" for source in sources)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LineageWarning)  # training reads them again and warns
        counted = count_labels(schemes.records(data.source, names, "train"), task.label, tags, hides)
    if classes and "task.labels" not in typed:
        followed |= _labels(data.source, task, counted, typed, tags)
    lowest, highest = task.bounds or (counted.lowest, counted.highest)
    clips = counted.lowest < lowest or counted.highest > highest
    if clips and not classes and "task.bounds" not in typed:
        followed["task.bounds"] = ()  # the declared bounds would clip predictions
    if "data.validation" not in typed and len(sources) == 1 and counted.examples > 1:
        followed |= _validation(data.source, sources[0], counted.examples)
    elif "data.validation" not in typed and all(source.scheme == "files" for source in sources):
        counts = [sum(1 for _ in schemes.records(one, names, "train")) for one in schemes.terms(data.source)]
        if min(counts) > 1:
            followed |= _drawn(dict(zip(schemes.terms(data.source), counts, strict=True)))
    return followed, counted.examples


def _labels(source: str, task: Task, counted: Counted, typed: Collection[str], tags: bool) -> dict[str, Any]:
    """The labels of the examples, if they differ from the declared ones."""
    counts, places = counted.names, counted.places
    if not counts or all(exact_class(name, task) is not None for name in counts):
        return {}
    if len(counts) > CLASSES or len(counts) == places > 2:
        raise UsageError(
            f"{source}: column {task.label} has {len(counts):,} labels in {places:,} places; "
            "expected classes (task.labels); choose another with task.label=COLUMN, or, for scores, "
            "objective.name=regression model.outputs=1 task.metrics=pearson"
        )
    labels = tuple(sorted(counts, key=lambda name: (name != "O", as_number(name) or 0.0, name)))
    followed: dict[str, Any] = {"task.labels": labels}
    if tags and "task.metrics" not in typed:  # the others' metrics suit any classes
        entities = all(TAG.fullmatch(name) for name in labels)
        followed["task.metrics"] = ("f1", "accuracy") if entities else ("accuracy",)
    if task.numbered and "task.numbered" not in typed:
        followed["task.numbered"] = False
    return followed


def count_labels(found: Records, field: str, tags: bool, hides: bool) -> Counted:
    """The labels of records. -1 is a class if all other labels are numbers; it is a hidden label if some are
    names, for tags, and if the data set `hides` labels, as published ones do.
    """
    examples, places, hidden, names = 0, 0, 0, Counter()
    for where, record in found:
        values = _values(record, field, tags)
        examples, places = examples + 1, places + len(values)
        for value in values:
            if isinstance(value, list | dict):
                kind = type(value).__name__
                raise UsageError(f"{where}: label {value!r:.40} ({field}): expected one label, not a {kind}")
            if value == HIDDEN:
                hidden += 1
            elif not is_empty(value) and not (tags and as_number(value) == NO_TAG):
                names[_name(value)] += 1
    if hidden and names and not (hides or tags) and None not in map(as_number, names):
        names[str(HIDDEN)] = hidden
    scores = [number for number in map(as_number, names) if number is not None]
    return Counted(examples, places, names, min(scores, default=0.0), max(scores, default=0.0))


def _values(record: Record, field: str, tags: bool) -> list[Any]:
    value = next(
        (records.plain(record[name]) for name in records.alternatives(field) if name in record), None
    )
    return value if tags and isinstance(value, list) else [value]


def _name(label: Any) -> str:
    """1 and 1.0 are both "1": pandas turns integers into floats in a column with nulls."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _validation(text: str, source: Source, examples: int) -> dict[str, str]:
    """The published split, or a random tenth of the examples, and the rest to train on."""
    find = SCHEMES[source.scheme].published
    published = find(source) if find else {}
    if source.split in ("", "train") and "validation" in published:
        return {"data.validation": published["validation"]}
    whole = text if source.split else published.get("train", text)
    return _drawn({whole: examples})


def _drawn(examples: Mapping[str, int]) -> dict[str, str]:
    """A random tenth of each source, whose `examples` are counted, and the rest."""
    held = {source: max(1, round(HELD_OUT * count)) for source, count in examples.items()}
    splits = {"data.source": "rest", "data.validation": "drawn"}
    return {
        name: "+".join(f"{scheme}:{count}:0:{source}" for source, count in held.items())
        for name, scheme in splits.items()
    }
