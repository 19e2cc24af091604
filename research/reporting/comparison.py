"""Comparison of runs: the settings in which they differ, their results and ranks."""

from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

from research.config.target import Direction
from research.reporting.evaluations import ending, scores
from research.reporting.runs import Run
from research.reporting.series import finite

ABSENT = "—"


class Metric(NamedTuple):
    """The validation metric by which runs are ranked."""

    name: str = "loss"
    direction: Direction = "minimize"
    score_by: Literal["best", "last", "target"] = "best"  # evaluation of a run

    def best(self, values: Sequence[float]) -> float:
        return min(values) if self.direction == "minimize" else max(values)


class Outcome(NamedTuple):
    """A run's results: one line of a table."""

    name: str
    state: str  # finished, diverged, running or stopped; a trial may also be pruned, failed or queued
    step: int
    steps: int
    best: float | None  # on the validation split; at step 0 only without later evaluations
    best_step: int | None
    last: float | None  # None for a run that diverged
    tokens_per_second: float | None  # median of the training rows, because the first includes compilation
    seconds: float | None  # of training, without evaluations and saves
    reached: dict[str, Any] | None = None  # of research.runs.target.Reached: where the run met run.stop_at
    rank: int | None = None  # from 1, by the metric; None for a trial that has not finished


def outcome(run: Run, metric: Metric, state: str) -> Outcome:
    end, measured = ending(run, metric.name), scores(run, metric.name)
    best = metric.best([value for value, _ in measured]) if measured else None
    train = run.split("train")
    speeds = [row["tokens_per_second"] for row in train if finite(row.get("tokens_per_second"))]
    return Outcome(
        name=run.name,
        state="diverged" if end.diverged and state == "finished" else state,
        step=run.step,
        steps=run.steps,
        best=best,
        best_step=next((step for value, step in measured if value == best), None),
        last=end.value,
        tokens_per_second=median(speeds) if speeds else None,
        seconds=train[-1].get("seconds") if train else None,
        reached=run.reached._asdict() if run.reached else None,
    )


def ranked(outcomes: Sequence[Outcome], metric: Metric, finished_only: bool) -> list[Outcome]:
    """Rank `outcomes`; equal results share a rank, and a diverged run has none."""

    def score(one: Outcome) -> float | None:
        out = one.state == "diverged" or (finished_only and one.state != "finished")
        return None if out else getattr(one, metric.score_by)

    values = [value for one in outcomes if (value := score(one)) is not None]
    order = sorted(values, reverse=metric.direction == "maximize")
    scored = [(one, score(one)) for one in outcomes]
    return [one if at is None else one._replace(rank=order.index(at) + 1) for one, at in scored]


def side_by_side(tables: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """{"run.seed": [0, 1], …}: the values of each name in all tables, ABSENT if a table lacks it."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: [table.get(name, ABSENT) for table in tables] for name in names}


def differing(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names whose values differ between tables."""
    compared = side_by_side(tables)
    return [name for name, values in compared.items() if any(value != values[0] for value in values)]


def labels(names: Sequence[str]) -> dict[str, str]:
    """{"optimizer.rate.peak": "peak", …}: the shortest unique ending of each name.

    A final ".name" is left out: "optimizer.name" becomes "optimizer".
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


def settings_named(typed: str, known: Collection[str]) -> list[str]:
    """The `known` settings that "peak" or "optimizer" may name, by their endings; a full name is itself."""
    if typed in known:
        return [typed]
    endings = [name for name in known if name.removesuffix(".name").endswith(f".{typed}")]
    return endings or [name for name in known if name == f"{typed}.name"]


def format_labelled(settings: Mapping[str, Any], short: Mapping[str, str]) -> str:
    """ "peak 0.003 · width 64": settings with a label in `short`, in one line."""
    return " · ".join(
        f"{label} {format_value(settings[name])}" for name, label in short.items() if name in settings
    )


def format_value(value: Any) -> str:
    """A value as in an override, numbers to four digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
