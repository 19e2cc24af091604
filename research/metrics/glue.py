"""A task's metrics as GLUE defines them, by scikit-learn and SciPy."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from research.errors import UsageError, did_you_mean
from research.metrics.entities import f1 as of_entities

Metric = Callable[[Sequence, Sequence], float]  # (labels, predictions), one item per example


def scores(
    metrics: Sequence[str], labels: Sequence, predictions: Sequence, classes: int = 2
) -> dict[str, float]:
    """Compute {metric: value} for class numbers below `classes`, scores, or lists of tags.

    Raises UsageError for an unknown metric.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise UsageError(f"{metric}: no such metric{did_you_mean(metric, METRICS)}")
    if len(labels) != len(predictions):
        raise UsageError(f"{len(predictions)} predictions of {len(labels)} examples")
    known = METRICS | {"f1": partial(f1, classes=classes)}
    return {metric: float(known[metric](labels, predictions)) for metric in metrics}


def accuracy(labels: Sequence, predictions: Sequence) -> float:
    from sklearn.metrics import accuracy_score

    return accuracy_score(_flat(labels), _flat(predictions))


def f1(labels: Sequence, predictions: Sequence, classes: int = 2) -> float:
    """F1 of class 1 of two, as for MRPC and QQP; of more classes, the mean; of tags, the F1 of entities.

    A class that does not occur has an F1 of 0, so that every split averages over the same classes.
    """
    if len(labels) and isinstance(labels[0], list):
        return of_entities(labels, predictions)
    from sklearn.metrics import f1_score

    settings: dict[str, Any] = {"zero_division": 0}
    if classes != 2:
        settings |= {"labels": range(classes), "average": "macro"}
    return f1_score(labels, predictions, **settings)


def matthews(labels: Sequence, predictions: Sequence) -> float:
    """Matthews's correlation, as for CoLA; 0 if all predictions are equal."""
    from sklearn.metrics import matthews_corrcoef

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a single class in both gives 0
        return matthews_corrcoef(labels, predictions)


def pearson(labels: Sequence, predictions: Sequence) -> float:
    from scipy.stats import pearsonr

    return _correlation(pearsonr, labels, predictions)


def spearman(labels: Sequence, predictions: Sequence) -> float:
    from scipy.stats import spearmanr

    return _correlation(spearmanr, labels, predictions)


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}


def _correlation(of: Callable, labels: Sequence, predictions: Sequence) -> float:
    """A correlation; 0 if one side is constant."""
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return of(np.asarray(labels, np.float64), np.asarray(predictions, np.float64)).statistic


def _flat(found: Sequence) -> list[Any]:
    return [tag for one in found for tag in one] if len(found) and isinstance(found[0], list) else list(found)
