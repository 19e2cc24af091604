"""Which runs count in a comparison, a law or a figure, and the reasons why others do not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from research.reporting.evaluations import ending
from research.reporting.runs import Run
from research.runs import changes

SEED = "run.seed"


def free(name: str) -> bool:
    """Whether a setting changes no result, or only its rounding, so that it separates no groups."""
    return (
        name in changes.FREE or name in ("name", SEED, "run.hyperparameters") or name.startswith("parallel.")
    )


def key_of(settings: Mapping[str, Any]) -> tuple:
    """A key that is equal for runs that differ at most in `free` settings."""
    return tuple((name, str(value)) for name, value in sorted(settings.items()) if not free(name))


def distinct(runs: Sequence[Run]) -> list[Run]:
    """`runs` without those that repeat another: a copy of a run is not a second sample.

    Of runs with equal settings and seed, a finished one is kept, else the one with the most steps.
    """
    kept: dict[tuple, Run] = {}
    for run in runs:
        key = (*key_of(run.settings), run.settings.get(SEED), run.settings.get("run.stop_at"))
        if key not in kept or _progress(run) > _progress(kept[key]):
            kept[key] = run
    chosen = {id(run) for run in kept.values()}
    return [run for run in runs if id(run) in chosen]


def _progress(run: Run) -> tuple[bool, int]:
    return run.state == "finished", run.step


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
