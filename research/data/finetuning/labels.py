"""Labels of examples as numbers: classes, scores, and the loss of a constant predictor."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from research.config import Task
from research.errors import UsageError, did_you_mean

NO_LABEL = (None, "-", "")  # labels that mean none, such as SNLI's without agreement
MOST_LISTED = 20  # class names in a message
NO_TAG = -100  # of words that do not count, in Transformers' files


class Labels(NamedTuple):
    """A kind of label, one per example."""

    parse: Callable[[Any, Task, str], int | float]  # (a record's label, task, where it stands) → number
    unknown: int | float  # label of an unlabelled example
    dtype: type
    baseline_loss: Callable[[np.ndarray], float]
    text: Callable[[Any, Task], str]

    def is_missing(self, label: Any, task: Task) -> bool:
        """Whether a record has no label; -1 is a hidden class, unless the task has a class -1."""
        return is_empty(label) or (label == self.unknown and self.unknown not in _numbers(task))


def is_empty(label: Any) -> bool:
    """Whether a label is null, NaN (pandas' null), or another mark of a missing label."""
    return label in NO_LABEL or (isinstance(label, float) and math.isnan(label))


def class_of(label: Any, task: Task, where: str) -> int:
    """A class as in `exact_class`, or by a name that differs in case, spaces, underscores or hyphens."""
    if (found := exact_class(label, task)) is not None:
        return found
    if isinstance(label, list | dict):
        raise UsageError(f"{where}: label {label!r:.40}: expected one class, not a {type(label).__name__}")
    alike = [index for index, name in enumerate(task.labels) if spelling(name) == spelling(str(label))]
    if len(alike) != 1 or as_number(label) is not None:
        raise UsageError(f"{where}: label {label!r} (task.labels){did_you_mean(str(label), task.labels)}")
    return alike[0]


def exact_class(label: Any, task: Task) -> int | None:
    """A class by its name (1 and 1.0 are both "1"), or by its number from 0 if no name is a number.

    true and false are not numbers.
    """
    if str(label) in task.labels:
        return task.labels.index(str(label))
    number, names = as_number(label), _numbers(task)
    if number is not None and number in names:
        return names.index(number)
    if number is not None and number in range(len(names)) and not any(name is not None for name in names):
        return int(number)
    return None


def spelling(name: str) -> str:
    """A class name in lower case, with spaces for underscores and hyphens."""
    return re.sub(r"[\s_-]+", " ", name).casefold()


def is_class(label: str, task: Task) -> bool:
    """Whether a label is the name or the number of a class."""
    try:
        class_of(label, task, "")
    except UsageError:
        return False
    return True


def are_numbers(labels: Collection[str]) -> bool:
    """Whether classes are numbered and have no names. Transformers numbers them LABEL_0, LABEL_1, …"""
    return all(as_number(label.removeprefix("LABEL_")) is not None for label in labels)


def listed(labels: Sequence[str]) -> str:
    """For a message: NEGATIVE, POSITIVE."""
    more = f", … ({len(labels)})" if len(labels) > MOST_LISTED else ""
    return ", ".join(label[:30] for label in labels[:MOST_LISTED]) + more


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
    """Whether a JSON value is a finite number; true and NaN are not."""
    return isinstance(value, int | float) and as_number(value) is not None


def _numbers(task: Task) -> list[float | None]:
    """The class names as numbers; None for a name that is not a number."""
    return [as_number(name) for name in task.labels]


def as_number(label: Any) -> float | None:
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
