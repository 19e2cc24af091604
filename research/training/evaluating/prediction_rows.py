"""Predictions beside the columns of their examples, for a table."""

from typing import Any

from research.config import Experiment, Task
from research.data.sources import records, schemes
from research.data.sources.schemes import TEST
from research.data.tables import DIGITS, check_columns
from research.objectives import objective_of
from research.training.evaluating.evaluate_run import Predicted, clipped

PREDICTION = "prediction"


def given_columns(source: str, experiment: Experiment) -> list[dict[str, Any]]:
    """The columns of each example of `source`, in order.

    Raises UsageError for one with the name of a column that `with_columns` adds.
    """
    task = experiment.task
    names = records.alternatives(*task.fields, task.label, task.options or task.label)
    found = [
        {str(name): records.plain(value) for name, value in one.items()}
        for where, record in schemes.records(source, {*names, records.ENDINGS[0]}, TEST)
        for one in records.unfolded(record, where)
    ]
    own = _probabilities(task) if objective_of(experiment.objective).probabilities else []
    check_columns({name: None for row in found for name in row}, [PREDICTION, *own])
    return found


def with_columns(
    task: Task, found: Predicted, given: list[dict[str, Any]]
) -> tuple[list[str], list[dict[str, Any]]]:
    """Names of columns, and rows: the `given` ones, `prediction`, and each class's `probability_NAME`."""
    predictions = found.predictions.values() if isinstance(found.predictions, dict) else found.predictions
    rows = [row | {PREDICTION: _rounded(task, one)} for row, one in zip(given, predictions, strict=True)]
    if found.probabilities is not None:
        for row, shares in zip(rows, found.probabilities, strict=True):
            row |= zip(_probabilities(task), (round(share, DIGITS) for share in shares), strict=True)
    columns = {name: None for row in given for name in row}
    own = [PREDICTION, *(_probabilities(task) if found.probabilities is not None else [])]
    return [*columns, *own], rows


def _probabilities(task: Task) -> list[str]:
    return [f"probability_{name}" for name in task.labels]


def _rounded(task: Task, prediction: Any) -> Any:
    return round(clipped(task, prediction), DIGITS) if isinstance(prediction, float) else prediction
