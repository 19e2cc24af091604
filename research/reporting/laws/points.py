"""The points of a law: the finished runs of a sweep, seeds together, the best settings of each size."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from research.errors import UsageError
from research.reporting.laws.sizes import SIZES
from research.reporting.runs import Run
from research.reporting.series import finite
from research.runs.changes import may_change

LAWS = {"power": 1, "chinchilla": 2}  # sizes of each
LEAST = {"power": 4, "chinchilla": 7}  # points: one more than a law has numbers, or two
SYMBOLS = {"parameters": "N", "tokens": "D", "flops": "C", "width": "w"}


class Point(NamedTuple):
    sizes: tuple[float, ...]
    losses: tuple[float, ...]  # of each seed
    runs: tuple[str, ...]


def points(
    runs: Sequence[Run], law: str, over: Sequence[str], metric: str = "loss", hold_out: int = 0
) -> tuple[list[Point], list[Point]]:
    """One for each size, of the settings whose mean over seeds is lowest there; the largest are held out.

    The largest is that of the largest product of sizes. Only a run that has finished counts, by its last
    evaluation. Raises UsageError where those to fit are too few.
    """
    groups: dict[tuple, list[tuple[Run, float]]] = {}
    for run in runs:
        values = [row[metric] for row in run.split("validation") if finite(row.get(metric))]
        if run.state == "finished" and values and values[-1] > 0:
            key = tuple((name, str(value)) for name, value in run.settings.items() if _tells_apart(name))
            groups.setdefault(key, []).append((run, values[-1]))
    best: dict[tuple[float, ...], Point] = {}
    for members in groups.values():
        sizes = tuple(float(SIZES[name](members[0][0])) for name in over)
        losses = tuple(loss for _, loss in members)
        if sizes not in best or np.mean(losses) < np.mean(best[sizes].losses):
            best[sizes] = Point(sizes, losses, tuple(run.name for run, _ in members))
    ascending = sorted(best, key=lambda sizes: (np.prod(sizes), sizes))
    kept = max(len(best) - hold_out, 0)
    fitted, held_out = (
        [best[sizes] for sizes in sorted(part)] for part in (ascending[:kept], ascending[kept:])
    )
    _check(fitted, len(runs), law, over, len(held_out))
    return fitted, held_out


def _tells_apart(name: str) -> bool:
    """Whether runs that differ in this setting are not each other's seeds."""
    return name != "run.seed" and not may_change(name, 0, 0)


def _check(found: Sequence[Point], runs: int, law: str, over: Sequence[str], held_out: int) -> None:
    what, beside = " and ".join(over), f", beside {held_out} held out" if held_out else ""
    if len(found) < LEAST[law]:
        raise UsageError(
            f"--law {law}: {len(found)} different {what} among the finished of {runs} runs{beside}; "
            f"expected at least {LEAST[law]}, for {1 + 2 * len(over)} unknowns"
        )
    for at, name in enumerate(over):
        different = len({point.sizes[at] for point in found})
        if different < 3:
            other = "" if len(over) == 1 else f"; --law power --over {over[1 - at]} needs no other {name}"
            raise UsageError(
                f"--law {law}: {different} different {name}; expected at least 3 to find an exponent{other}"
            )
