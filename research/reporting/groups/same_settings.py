"""Settings that distinguish runs, and runs that repeat another one."""

from collections.abc import Mapping, Sequence
from typing import Any

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
