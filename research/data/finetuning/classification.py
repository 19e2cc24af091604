"""Examples with labels, tokenized: what there is to be classified, scored or chosen from.

They are few beside running text, so they are read and tokenized at every start, and kept in memory.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.config import Experiment, Task
from research.data.sources import records
from research.data.sources.records import Record
from research.data.sources.standardize import STANDARDS
from research.data.tokenizers.tokenizer import SpecialTokens, special_tokens
from research.errors import UsageError, did_you_mean

STORY = tuple(f"InputSentence{n}" for n in range(1, 5))
ENDINGS = "RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2"
NONE = (None, "-", "")  # labels of examples that have none, as SNLI's without agreement
TEST = "test"  # the split that is answered, not learnt from: its labels need not be known
UNKNOWN = {"classification": -1, "choice": -1, "regression": math.nan}


class Example(NamedTuple):
    texts: tuple[str, ...]  # those of the task's fields, then the choices
    label: int | float


def known(labels: np.ndarray) -> bool:
    """Whether all of them are; of a class or a choice, or a score."""
    unknown = np.isnan(labels) if labels.dtype.kind == "f" else labels == UNKNOWN["classification"]
    return not unknown.any()


class Labelled(NamedTuple):
    """One split's examples, each of as many texts."""

    tokens: np.ndarray  # int32, of all texts, one after another
    ends: np.ndarray  # int64 (examples × texts + 1,): where in `tokens` each ends; 0 before the first
    texts: int  # an example
    labels: np.ndarray  # int32, or float32 of scores (examples,)
    sha256: str  # of all that
    baseline_loss: float  # the loss of who knows only how frequent each label is (of scores, their mean)
    vocabulary: int  # the model's: a GPT's marks come after it
    special_tokens: SpecialTokens | None  # of a BERT tokenizer

    def __len__(self) -> int:
        return len(self.labels)

    def text(self, example: int, which: int) -> np.ndarray:
        index = example * self.texts + which
        return self.tokens[self.ends[index] : self.ends[index + 1]]


def examples(experiment: Experiment, source: str, split: str) -> tuple[list[Example], int]:
    """Those of a split, in order, and how many were left out for want of a label; of `TEST`, none are."""
    data, task, kind = experiment.data, experiment.task, experiment.objective.name
    fields = (*task.fields, task.label, task.options) if task.options else (*task.fields, task.label)
    names = {name for field in fields for name in field.split("|")}
    clean = STANDARDS[data.standardize]
    found, left_out = [], 0
    for where, record in records.read(source, names | {ENDINGS[0]}, split):
        for one in _unfolded(record):
            label = _label(one, task, kind, where, split)
            if label is None:
                left_out += 1
                continue
            texts = [_text(one, field, where, "task.fields") for field in task.fields]
            if kind == "choice":
                texts += _options(one, task, where)
            found.append(Example(tuple(map(clean, texts)), label))
    if not found:
        raise UsageError(f"{source}: no example {'' if split == TEST else 'with a label '}in it")
    return found, left_out


def _label(record: Record, task: Task, kind: str, where: str, split: str) -> int | float | None:
    """As a number; None where the record has none, or of `TEST` the number for unknown."""
    try:
        label = records.value(record, task.label, where, "task.label")
    except UsageError:
        if split != TEST:
            raise
        label = None
    if label in NONE or (label == -1 and kind == "classification"):
        return UNKNOWN[kind] if split == TEST else None
    return NUMBERS[kind](label, task, where)


def _unfolded(record: Record) -> Iterator[Record]:
    """RACE asks several questions of an article; StoryCloze keeps a story's sentences apart."""
    if {"article", "questions", "options", "answers"} <= record.keys():
        questions, options, answers = (
            records.plain(record[name]) for name in ("questions", "options", "answers")
        )
        for question, choices, answer in zip(questions, options, answers, strict=True):
            yield {"article": record["article"], "question": question, "options": choices, "label": answer}
    elif ENDINGS[0] in record:
        yield {
            "context": " ".join(record[name] for name in STORY),
            "endings": [record[name] for name in ENDINGS],
            "label": record["AnswerRightEnding"],
        }
    else:
        yield record


def _text(record: Record, field: str, where: str, setting: str) -> str:
    text = records.value(record, field, where, setting)
    if not isinstance(text, str):
        raise UsageError(f"{where}: field {field} is not a text but {text!r:.40}")
    return text


def _options(record: Record, task: Task, where: str) -> list[str]:
    options = records.value(record, task.options, where, "task.options")
    count = len(task.labels)
    if not isinstance(options, list) or len(options) != count:
        raise UsageError(
            f"{where}: field {task.options}: expected {count} texts, one for each of task.labels"
        )
    return options


def class_of(label: Any, task: Task, where: str) -> int:
    """A label by its name, or by its number from 0 where no name is one."""
    if str(label) in task.labels:
        return task.labels.index(str(label))
    numbered = not any(name.isdecimal() for name in task.labels)
    if numbered and str(label).isdecimal() and int(label) < len(task.labels):
        return int(label)
    raise UsageError(f"{where}: label {label!r} (task.labels){did_you_mean(str(label), task.labels)}")


def _score(label: Any, task: Task, where: str) -> float:
    try:
        return float(label)
    except (TypeError, ValueError):
        raise UsageError(f"{where}: label {label!r}: expected a number") from None


NUMBERS = {"classification": class_of, "regression": _score, "choice": class_of}


def tokenized(experiment: Experiment, source: str, split: str, tokenizer: Tokenizer) -> tuple[Labelled, str]:
    """A split, and what to tell of it; raises as `examples`."""
    found, left_out = examples(experiment, source, split)
    without = f", {left_out:,} without a label left out" if left_out else ""
    return _tokenized(found, experiment, tokenizer), f"{len(found):,} examples{without}"


def _tokenized(found: list[Example], experiment: Experiment, tokenizer: Tokenizer) -> Labelled:
    texts = [text for example in found for text in example.texts]
    ids = [one.ids for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    ends = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    tokens = np.fromiter((index for one in ids for index in one), np.int32, int(ends[-1]))
    scores = experiment.objective.name == "regression"
    labels = np.array([example.label for example in found], np.float32 if scores else np.int32)
    return Labelled(
        tokens=tokens,
        ends=ends,
        texts=len(found[0].texts),
        labels=labels,
        sha256=hashlib.sha256(tokens.tobytes() + ends.tobytes() + labels.tobytes()).hexdigest(),
        baseline_loss=float(labels.var()) if scores else entropy(labels),
        vocabulary=experiment.model.vocabulary,
        special_tokens=special_tokens(tokenizer),
    )


def entropy(labels: np.ndarray) -> float:
    """Nats a label."""
    shares = np.array(list(Counter(labels.tolist()).values())) / len(labels)
    return float(-(shares * np.log(shares)).sum())
