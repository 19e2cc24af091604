"""Which settings tell runs apart, and which runs repeat another one."""

from collections.abc import Mapping, Sequence
from typing import Any

from research.reporting.runs import Run
from research.runs import changes

SEED = "run.seed"


def free(name: str) -> bool:
    """Whether a setting tells no groups apart: it changes no result, or rounding only."""
    return (
        name in changes.FREE or name in ("name", SEED, "run.hyperparameters") or name.startswith("parallel.")
    )


def key_of(settings: Mapping[str, Any]) -> tuple:
    """Equal for runs that no setting tells apart."""
    return tuple((name, str(value)) for name, value in sorted(settings.items()) if not free(name))


def distinct(runs: Sequence[Run]) -> list[Run]:
    """`runs` without those that repeat another: a copy of a run is no second sample of its seed.

    Of several with equal settings and seed, one that has finished is kept, else the one that came furthest.
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
