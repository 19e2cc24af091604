"""Classification, regression and multiple choice: examples with one label each, tokenized."""

import hashlib
import warnings
from collections import Counter
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.config import Data, Task
from research.data.finetuning.labels import CLASSES, Labels, is_number, listed
from research.data.sources import records, schemes
from research.data.sources.file_records import Record
from research.data.sources.schemes import TEST
from research.data.sources.standardize import STANDARDS
from research.data.tokenizers.fast_bert import encoder
from research.data.tokenizers.tokenizer import SpecialTokens, special_tokens
from research.errors import LineageWarning, UsageError

RARE, MANY = 5, 100  # training examples of a rare class, and of a file in which that is a surprise


class Example(NamedTuple):
    texts: tuple[str, ...]  # from the task's fields, then the choices
    label: int | float


class Split(NamedTuple):
    """The examples of a split, all with the same number of texts."""

    tokens: np.ndarray  # int32, of all texts, one after another
    ends: np.ndarray  # int64 (examples × texts + 1,): where in `tokens` each ends; 0 before the first
    texts: int  # an example
    labels: np.ndarray  # int32, or float32 of scores (examples,)
    known: np.ndarray  # bool (examples,): True with a label
    sha256: str  # of tokens, ends and labels
    baseline_loss: float  # when predicting classes by their frequencies, or the mean score
    special_tokens: SpecialTokens | None  # of a BERT tokenizer

    def __len__(self) -> int:
        return len(self.labels)

    def text(self, example: int, which: int) -> np.ndarray:
        index = example * self.texts + which
        return self.tokens[self.ends[index] : self.ends[index + 1]]


def read(
    data: Data, task: Task, kind: Labels, source: str, split: str, tokenizer: Tokenizer
) -> tuple[Split, str]:
    """Reads and tokenizes a split; returns it and a summary. Raises as `examples` does."""
    found, left_out = examples(data, task, kind, source, split)
    if split == "train" and kind is CLASSES and not task.options:
        _warn_of_rare(source, [task.labels[int(example.label)] for example in found], task)
    without = f", {left_out:,} without a label left out" if left_out else ""
    tokenized = _tokenized(found, kind, tokenizer, data.standardize)
    return tokenized, f"{len(found):,} examples{without}{_empty(tokenized, task)}"


def _empty(split: Split, task: Task) -> str:
    """For the summary: how many examples have a text without a token, by field."""
    empty = np.diff(split.ends).reshape(len(split), split.texts) == 0
    counts = {name.partition("|")[0]: int(empty[:, n].sum()) for n, name in enumerate(task.fields)}
    counts[task.options] = int(empty[:, len(task.fields) :].any(axis=1).sum())
    return "".join(f", {count:,} with an empty {name}" for name, count in counts.items() if count)


def _warn_of_rare(source: str, labels: list[str], task: Task) -> None:
    """Warns of classes with hardly an example: often a mark of a missing label, such as R's NA, or a typo."""
    counts = Counter(labels)
    rare = [f"{name} ({counts[name]})" for name in task.labels if counts[name] < RARE]
    if rare and len(labels) >= MANY:
        warnings.warn(
            f"{source}: classes with fewer than {RARE} of the {len(labels):,} training examples: "
            f"{listed(rare)}; if one is a typo or means no label, correct these rows or leave them out",
            LineageWarning,
            stacklevel=3,
        )


def _tokenized(found: list[Example], kind: Labels, tokenizer: Tokenizer, standardize: str) -> Split:
    texts = [text for example in found for text in example.texts]
    ids = encoder(tokenizer, standardize)(texts)
    ends = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    tokens = np.fromiter((index for one in ids for index in one), np.int32, int(ends[-1]))
    labels = np.array([example.label for example in found], kind.dtype)
    unknown = np.isnan(labels) if np.isnan(kind.unknown) else labels == kind.unknown
    return Split(
        tokens=tokens,
        ends=ends,
        texts=len(found[0].texts),
        labels=labels,
        known=~unknown,
        sha256=hashlib.sha256(tokens.tobytes() + ends.tobytes() + labels.tobytes()).hexdigest(),
        baseline_loss=kind.baseline_loss(labels),
        special_tokens=special_tokens(tokenizer),
    )


def examples(data: Data, task: Task, kind: Labels, source: str, split: str) -> tuple[list[Example], int]:
    """The examples of a split, in order, and the number left out because they have no label.

    None of the split `TEST` is left out. Raises UsageError for a record without the task's fields, or with a
    label that the task does not have.
    """
    names = records.alternatives(*task.fields, task.label, task.options or task.label)
    clean = STANDARDS[data.standardize]
    found, left_out = [], 0
    for where, record in schemes.records(source, {*names, records.ENDINGS[0]}, split):
        for one in records.unfolded(record, where):
            label = _label(one, task, kind, where, split)
            if label is None:
                left_out += 1
                continue
            texts = [records.text(one, field, where, "task.fields") for field in task.fields]
            if task.options:
                texts += _options(one, task, where)
            found.append(Example(tuple(map(clean, texts)), label))
    if not found:
        raise UsageError(f"{source}: no example {'' if split == TEST else 'with a label '}in it")
    return found, left_out


def _label(record: Record, task: Task, kind: Labels, where: str, split: str) -> int | float | None:
    """The label as a number; without a label, None, or `kind.unknown` in the split `TEST`."""
    try:
        label = records.value(record, task.label, where, "task.label")
    except UsageError:
        if split != TEST:
            raise
        label = None
    if kind.is_missing(label, task):
        return kind.unknown if split == TEST else None
    return kind.parse(label, task, where)


def _options(record: Record, task: Task, where: str) -> list[str]:
    options = records.value(record, task.options, where, "task.options")
    count = len(task.labels)
    if not isinstance(options, list) or len(options) != count:
        raise UsageError(
            f"{where}: field {task.options}: expected {count} texts, one for each of task.labels"
        )
    for place, option in enumerate(options):
        if not (isinstance(option, str) or is_number(option)):
            raise UsageError(f"{where}: field {task.options}[{place}] is not a text but {option!r:.40}")
    return list(map(str, options))  # some are numbers
