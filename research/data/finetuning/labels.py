"""Labels of examples as numbers: classes, scores, and the loss of a constant predictor."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from research.config import Task
from research.errors import UsageError, did_you_mean

NO_LABEL = (None, "-", "")  # labels that mean none, such as SNLI's without agreement


class Labels(NamedTuple):
    """A kind of label, one per example."""

    parse: Callable[[Any, Task, str], int | float]  # (a record's label, task, where it stands) → number
    unknown: int | float  # label of an unlabelled example
    dtype: type
    baseline_loss: Callable[[np.ndarray], float]
    text: Callable[[Any, Task], str]

    def is_missing(self, label: Any) -> bool:
        """Whether a record's label means that there is none; -1 is a hidden class."""
        return label in NO_LABEL or label == self.unknown


def class_of(label: Any, task: Task, where: str) -> int:
    """A class by its name, or by its number from 0 (1 or 1.0, not true) if no name is a number."""
    if str(label) in task.labels:
        return task.labels.index(str(label))
    numbered = not any(name.isdecimal() for name in task.labels)
    number = _number(label)
    if numbered and number is not None and number in range(len(task.labels)):
        return int(number)
    raise UsageError(f"{where}: label {label!r} (task.labels){did_you_mean(str(label), task.labels)}")


def score_of(label: Any, task: Task, where: str) -> float:
    if (number := _number(label)) is None:
        raise UsageError(f"{where}: label {label!r}: expected a finite number")
    return number


def soft_score_of(label: Any, task: Task, where: str) -> float:
    score, most = score_of(label, task, where), len(task.labels) - 1
    if not 0 <= score <= most:
        raise UsageError(f"{where}: label {label!r}: expected a score from 0 to {most} (task.labels)")
    return score


def _number(label: Any) -> float | None:
    """The finite number of a label, also as text; None for other labels, and for true and false."""
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
