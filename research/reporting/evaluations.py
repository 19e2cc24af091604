"""A run's results by one number of its rows: the last, the finite ones, and whether it diverged."""

from typing import NamedTuple

from research.reporting.runs import Run
from research.reporting.series import finite, number
from research.runs.metrics_log import Row


class Ending(NamedTuple):
    """The last row that has a metric."""

    value: float | None  # None of a run that diverged, and without such a row
    diverged: bool


def ending(run: Run, metric: str, split: str = "validation") -> Ending:
    """Where `run` ended.

    A run diverged if that number is not finite, or the loss of its row: a model of NaNs has an accuracy too.
    Earlier rows stand for nothing then: the first of them is of a model that nothing has trained.
    """
    rows = _measured(run, metric, split)
    if not rows:
        return Ending(None, False)
    return Ending(rows[-1][metric], False) if _sound(rows[-1], metric) else Ending(None, True)


def scores(run: Run, metric: str) -> list[tuple[float, int]]:
    """(value, step) of the evaluations among which is the best: finite, of step 0 only without later ones."""
    rows = _measured(run, metric, "validation")
    trained = [row for row in rows if row["step"]] or rows
    return [(row[metric], row["step"]) for row in trained if _sound(row, metric)]


def _measured(run: Run, metric: str, split: str) -> list[Row]:
    return [row for row in run.split(split) if number(row.get(metric))]


def _sound(row: Row, metric: str) -> bool:
    return all(finite(row[name]) for name in (metric, "loss") if number(row.get(name)))
