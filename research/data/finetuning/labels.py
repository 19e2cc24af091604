"""Labels of examples as numbers: classes, scores, and the loss of predicting a constant."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from research.config import Task
from research.errors import UsageError, did_you_mean

NO_LABEL = (None, "-", "")  # a record's label where it has none, as SNLI's without agreement
NO_TAG = -100  # stands for "no tag" at a token, where a model's inputs were stored in place of words


class Labels(NamedTuple):
    """A kind of label, one an example."""

    parse: Callable[[Any, Task, str], int | float]  # (a record's label, task, where it stands) → number
    unknown: int | float  # stands for the label of an example without one
    dtype: type
    baseline_loss: Callable[[np.ndarray], float]
    text: Callable[[Any, Task], str]

    def is_missing(self, label: Any, task: Task) -> bool:
        """Whether a record's label says that it has none; -1 is a hidden class, unless it is one of them."""
        return is_empty(label) or (label == self.unknown and self.unknown not in _numbers(task))


def is_empty(label: Any) -> bool:
    """Whether a record's label is null, NaN (as pandas writes null), or one of the other signs of none."""
    return label in NO_LABEL or (isinstance(label, float) and math.isnan(label))


def class_of(label: Any, task: Task, where: str) -> int:
    """A label by its name (1 and 1.0 are both "1"), or by its number from 0 where no name is a number.

    Neither true nor false is a number.
    """
    if str(label) in task.labels:
        return task.labels.index(str(label))
    number, names = as_number(label), _numbers(task)
    if number is not None and number in names:
        return names.index(number)
    if number is not None and number in range(len(names)) and not any(name is not None for name in names):
        return int(number)
    if isinstance(label, list | dict):
        raise UsageError(f"{where}: label {label!r:.40}: expected one class, not a {type(label).__name__}")
    raise UsageError(f"{where}: label {label!r} (task.labels){did_you_mean(str(label), task.labels)}")


def score_of(label: Any, task: Task, where: str) -> float:
    if (number := as_number(label)) is None:
        raise UsageError(f"{where}: label {label!r}: expected a finite number")
    return number


def soft_score_of(label: Any, task: Task, where: str) -> float:
    score, most = score_of(label, task, where), len(task.labels) - 1
    if not 0 <= score <= most:
        raise UsageError(f"{where}: label {label!r}: expected a score from 0 to {most} (task.labels)")
    return score


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number, which can stand for a text: 7, but neither true nor NaN."""
    return isinstance(value, int | float) and as_number(value) is not None


def _numbers(task: Task) -> list[float | None]:
    """The numbers that classes are called by."""
    return [as_number(name) for name in task.labels]


def as_number(label: Any) -> float | None:
    """The finite number that a label is or spells; None for another label, and for true and false."""
    if isinstance(label, bool):
        return None
    try:
        number = float(label)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def entropy(labels: np.ndarray) -> float:
    """Nats per label: the cross-entropy of predicting each class by its frequency."""
    shares = np.array(list(Counter(labels.tolist()).values())) / len(labels)
    return float(-(shares * np.log(shares)).sum())


def variance(labels: np.ndarray) -> float:
    """The squared error of predicting the mean."""
    return float(labels.var())


def soft_entropy(labels: np.ndarray) -> float:
    """Nats per score: the cross-entropy of predicting the mean of all soft targets."""
    if np.isnan(labels).any():  # of examples without labels
        return math.nan
    whole = np.arange(math.ceil(labels.max()) + 1)
    shares = np.maximum(0, 1 - np.abs(labels[:, None].astype(np.float64) - whole)).mean(0)
    return float(-(shares * np.log(shares, where=shares > 0, out=np.zeros_like(shares))).sum())


def class_name(label: int, task: Task) -> str:
    return task.labels[label]


def score_text(label: float, task: Task) -> str:
    return f"{label:g}"


CLASSES = Labels(class_of, -1, np.int32, entropy, class_name)
SCORES = Labels(score_of, math.nan, np.float32, variance, score_text)
SOFT_SCORES = Labels(soft_score_of, math.nan, np.float32, soft_entropy, score_text)
