"""A run's metrics as columns."""

from pathlib import Path
from typing import Any

import numpy as np

from research.errors import UsageError
from research.io.files import expanded
from research.runs import metrics_log

SPLITS = ("train", "validation")

Table = dict[str, np.ndarray]  # by column, all of one length


def read_metrics(directory: str | Path) -> dict[str, Table]:
    """The rows of a run's metrics.jsonl: {"train": {"step": …, "loss": …, …}, "validation": {…}}.

    A column is an array with one entry per row of its split: `step` of int64, other numbers of float64 (NaN
    where a row has none), texts of objects (None if a row has none). A split without rows has no columns.
    Works while the run trains. To plot, or for a table of pandas:

        metrics = read_metrics("runs/tiny")
        plt.plot(metrics["train"]["step"], metrics["train"]["loss"])
        pandas.DataFrame(metrics["validation"])

    Raises UsageError for a directory without metrics.
    """
    directory = expanded(directory)
    if not (directory / "metrics.jsonl").exists():
        raise UsageError(f"{directory}: has no metrics.jsonl; expected the directory of a run")
    rows = metrics_log.read(directory)
    return {split: _columns([row for row in rows if row["split"] == split]) for split in SPLITS}


def _columns(rows: list[metrics_log.Row]) -> Table:
    names = dict.fromkeys(name for row in rows for name in row if name != "split")
    return {name: _column([row.get(name) for row in rows]) for name in names}


def _column(values: list[Any]) -> np.ndarray:
    if all(isinstance(value, int) for value in values):
        return np.asarray(values, np.int64)
    if all(value is None or isinstance(value, int | float) for value in values):
        return np.asarray([np.nan if value is None else value for value in values], np.float64)
    column = np.empty(len(values), object)
    column[:] = values
    return column
