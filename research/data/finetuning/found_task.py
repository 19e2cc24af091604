"""The task of a file's examples, for weights that come with their head and labels.

Columns with usual names are found, and labels matched by name; `Named` has what the user names.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from research.config import Task
from research.config.names import SCHEMES
from research.data.finetuning.labels import are_numbers, is_class, listed
from research.data.finetuning.own_columns import LABELS, has, one_of, pair_of, text_of
from research.data.finetuning.own_labels import count_labels
from research.data.sources import records, schemes
from research.data.sources.schemes import TEST, Source
from research.errors import UsageError, did_you_mean

SCORES = ("score", "similarity", "similarity_score")
OPTIONS = ("options", "endings", "choices")
CONTEXTS = (("article", "question"), ("sent1", "sent2"), ("context", "question"), ("context",))


class Named(NamedTuple):
    """What the user names: columns, else found by their usual names; classes, else as in config.json."""

    fields: tuple[str, ...] = ()
    label: str = ""
    labels: tuple[str, ...] = ()  # in the order of the model's outputs


def found_task(source: str, objective: str, labels: tuple[str, ...], named: Named) -> Task:
    """The task of the examples of `source`, without metrics.

    Raises UsageError, listing the columns, if no text has a usual name.
    """
    if objective == "spans":
        label = named.label or "answers"
        fields = named.fields or ("question", "context")
        return Task(fields=fields, label=label, unanswerable=_asks_in_vain(source, label))
    columns = _columns(schemes.joined(source, "--data")[0], named)
    tags = objective == "tags"
    label = named.label or _label(columns, objective)
    if columns and named.label and not label.isdecimal() and not has(columns, label):
        raise UsageError(f"{source}: no column {label} (--label){did_you_mean(label, columns)}")
    if objective == "choice":
        return _choice(source, named, label)
    fields = named.fields or _fields([name for name in columns if name != label], tags)
    if not fields:
        shown = ", ".join(name[:30] for name in columns)
        raise UsageError(
            f"{source}: no column of a usual name for the text; it has {shown}; expected --field COLUMN, or "
            "COLUMN,COLUMN of a pair, and --label COLUMN, or their numbers from 0"
        )
    return Task(fields=fields, label=label, labels=labels)


def match_labels(source: str, task: Task, tags: bool) -> list[str]:
    """Notes on how the labels of `source` are matched with the model's classes, for what has to be known.

    Raises UsageError, with both lists, if a label is no name of a class: metrics would be of another order.
    """
    names = records.alternatives(*task.fields, task.label)
    found = list(count_labels(schemes.records(source, names, TEST), task.label, tags, hides=True).names)
    if not all(is_class(name, task) for name in found):
        raise UsageError(
            f"{source}: labels {listed(sorted(found))}; the model's (id2label) are {listed(task.labels)}; "
            f"expected the same names, or --labels NAMES, those of its {len(task.labels)} outputs in order"
        )
    notes = []
    if found and are_numbers(found) and not set(found) <= set(task.labels):
        pairs = listed([f"{number} is {name}" for number, name in enumerate(task.labels)])
        notes.append(f"{source}: labels are numbers, taken for those of the model's outputs: {pairs}")
    if found and not tags and len(task.labels) == 2:
        notes.append(f"f1 is that of the second output, {task.labels[1]}")
    return notes


def _columns(source: Source, named: Named) -> Sequence[str]:
    find = SCHEMES[source.scheme].columns
    if find is None and not named.fields:
        raise UsageError(f"{source.scheme}:{source.name}: expected --field COLUMN, the column of the text")
    return [] if find is None else find(source)


def _label(columns: Sequence[str], objective: str) -> str:
    """The column of the label; a file of examples to predict may have none."""
    if objective == "tags" and len(columns) > 1 and columns[0] == "0":  # CoNLL's columns
        return columns[-1]
    scores = SCORES if objective == "regression" else ()
    return one_of((*LABELS, *scores), columns) or LABELS[0]


def _fields(columns: Sequence[str], tags: bool) -> tuple[str, ...]:
    if tags and columns and columns[0] == "0":
        return ("0",)
    if not tags and (pair := pair_of(columns)):
        return pair
    text = text_of(columns)
    return (text,) if text else ()


def _choice(source: str, named: Named, label: str) -> Task:
    """A task with as many choices as the first example has."""
    names = {*OPTIONS, *(name for names in CONTEXTS for name in names), *named.fields}
    where, row = next(schemes.records(source, names, TEST), (source, {}))
    first = next(records.unfolded(row, where), {})
    options = one_of(OPTIONS, tuple(first))
    fields = named.fields or next((names for names in CONTEXTS if set(names) <= first.keys()), ())
    listed = records.plain(first[options]) if options else None
    if not isinstance(listed, list) or not fields:
        raise UsageError(
            f"{source}: no choices; it has {', '.join(map(str, first)) or 'no example'}; expected a list of "
            f"them as {', '.join(OPTIONS)}, and the text before them as context, or --field COLUMN"
        )
    given = records.plain(first.get(label))
    if isinstance(given, str) and given.isalpha():  # RACE's A, B, …
        labels = tuple(chr(ord("A") + n) for n in range(len(listed)))
    else:  # StoryCloze counts from 1
        labels = tuple(str(n + (records.ENDINGS[0] in row)) for n in range(len(listed)))
    return Task(fields=fields, options=str(options), label=label, labels=labels)


def _asks_in_vain(source: str, label: str) -> bool:
    """Whether some questions are known to have no answer."""
    return any(_is_empty(row.get(label)) for _, row in schemes.records(source, {label}, TEST))


def _is_empty(answers: Any) -> bool:
    found = records.plain(answers)
    return found == [] or (isinstance(found, dict) and found.get("text") == [])
