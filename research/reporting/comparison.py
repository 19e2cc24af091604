"""Several runs side by side: what sets them apart, and how each did."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

from research.reporting.runs import Run
from research.reporting.series import finite

ABSENT = "—"


class Metric(NamedTuple):
    """What runs are judged by: a number of their validation rows, the best of them or the last."""

    name: str = "loss"
    direction: Literal["minimize", "maximize"] = "minimize"
    judged: Literal["best", "last"] = "best"

    def best(self, values: Sequence[float]) -> float:
        return min(values) if self.direction == "minimize" else max(values)


class Outcome(NamedTuple):
    """A run in a line of a table."""

    name: str
    state: str  # finished, running, stopped; of a trial also pruned, failed, queued
    step: int
    steps: int
    best: float | None  # of the metric, on the validation split
    best_step: int | None
    last: float | None
    tokens_per_second: float | None  # median of the training rows: the first one's holds compilation
    seconds: float | None  # of training alone
    rank: int | None = None  # by what the metric judges, from 1; None for a trial that has not finished


def outcome(run: Run, metric: Metric, state: str) -> Outcome:
    measured = [
        (row[metric.name], row["step"]) for row in run.split("validation") if finite(row.get(metric.name))
    ]
    best = metric.best([value for value, _ in measured]) if measured else None
    train = run.split("train")
    speeds = [row["tokens_per_second"] for row in train if finite(row.get("tokens_per_second"))]
    return Outcome(
        name=run.name,
        state=state,
        step=run.step,
        steps=run.steps,
        best=best,
        best_step=next((step for value, step in measured if value == best), None),
        last=measured[-1][0] if measured else None,
        tokens_per_second=median(speeds) if speeds else None,
        seconds=train[-1].get("seconds") if train else None,
    )


def ranked(outcomes: Sequence[Outcome], metric: Metric, finished_only: bool) -> list[Outcome]:
    """`outcomes`, each with its rank; those of equal results share one."""
    judged = [getattr(outcome, metric.judged) for outcome in outcomes]
    fit = [
        value
        for value, outcome in zip(judged, outcomes, strict=True)
        if value is not None and (outcome.state == "finished" or not finished_only)
    ]
    order = sorted(fit, reverse=metric.direction == "maximize")
    return [
        outcome._replace(rank=order.index(value) + 1)
        if value is not None and (outcome.state == "finished" or not finished_only)
        else outcome
        for value, outcome in zip(judged, outcomes, strict=True)
    ]


def side_by_side(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """{"run.seed": [0, 1], …}: each name's value in each table, ABSENT where it has none."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: [table.get(name, ABSENT) for table in tables] for name in names}


def differing(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names whose values are not the same in all tables."""
    compared = side_by_side(tables)
    return [name for name, values in compared.items() if any(value != values[0] for value in values)]


def labels(names: Sequence[str]) -> dict[str, str]:
    """{"optimizer.rate.peak": "peak", …}: as few last parts of each name as tell it from the others.

    The name of something is called by what it names: "optimizer.name" is "optimizer".
    """
    short = {}
    for name in names:
        parts = name.removesuffix(".name").split(".")
        endings = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [f".{other.removesuffix('.name')}" for other in names if other != name]
        short[name] = next(
            (end for end in endings if not any(other.endswith(f".{end}") for other in others)), name
        )
    return short


def noted(settings: Mapping[str, Any], short: Mapping[str, str]) -> str:
    """ "peak 0.003 · width 64": the settings that `short` gives labels, in a line."""
    return " · ".join(f"{label} {told(settings[name])}" for name, label in short.items() if name in settings)


def told(value: Any) -> str:
    """As it would be typed, a number to four digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
