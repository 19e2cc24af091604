"""Runs that count in a law or a figure, and the reasons why others do not."""

from collections import Counter
from collections.abc import Sequence

from research.reporting.evaluations import ending
from research.reporting.groups.same_settings import distinct
from research.reporting.runs import Run


def counted(runs: Sequence[Run], metric: str, split: str = "validation") -> list[tuple[Run, float]]:
    """The finished runs with their last values; copies with equal settings and seed count once."""
    ended = [(run, ending(run, metric, split).value) for run in distinct(runs) if run.state == "finished"]
    return [(run, value) for run, value in ended if value is not None]


def left_out(runs: Sequence[Run], metric: str, split: str = "validation") -> dict[str, int]:
    """{"diverged": 1, "repeated": 2, …}: the number of `runs` not `counted`, by reason."""
    first = {id(run) for run in distinct(runs)}
    reasons: Counter[str] = Counter()
    for run in runs:
        end = ending(run, metric, split)
        if id(run) not in first:
            reasons["repeated"] += 1
        elif run.state != "finished":
            reasons[run.state] += 1
        elif end.value is None:
            reasons["diverged" if end.diverged else "not measured"] += 1
    return dict(reasons)


def listed(reasons: dict[str, int]) -> str:
    """Format as "1 diverged, 2 repeated"."""
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items())
