"""Results of a run by one metric: the last value, the finite ones, and whether the run diverged."""

from typing import NamedTuple

from research.reporting.runs import Run
from research.reporting.series import finite, number
from research.runs.metrics_log import Row


class Ending(NamedTuple):
    """The last row that has a metric."""

    value: float | None  # None for a run that diverged, or without such a row
    diverged: bool


def ending(run: Run, metric: str, split: str = "validation") -> Ending:
    """The last value of `metric`, and whether the run diverged.

    It diverged if that value, or the loss in its row, is not finite: a model of NaNs has an accuracy too.
    Earlier rows do not replace the value, since the first one measures an untrained model.
    """
    rows = _measured(run, metric, split)
    if not rows:
        return Ending(None, False)
    return Ending(rows[-1][metric], False) if _sound(rows[-1], metric) else Ending(None, True)


def scores(run: Run, metric: str) -> list[tuple[float, int]]:
    """(value, step) of the finite evaluations to choose the best from; step 0 counts only if it is alone."""
    rows = _measured(run, metric, "validation")
    trained = [row for row in rows if row["step"]] or rows
    return [(row[metric], row["step"]) for row in trained if _sound(row, metric)]


def _measured(run: Run, metric: str, split: str) -> list[Row]:
    return [row for row in run.split(split) if number(row.get(metric))]


def _sound(row: Row, metric: str) -> bool:
    return all(finite(row[name]) for name in (metric, "loss") if number(row.get(name)))
