"""The points of a law: the finished runs of a sweep, seeds together, the best settings of each size.

Only parameters and operations, counted from the model's shapes, import JAX.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from research.errors import UsageError
from research.reporting.groups.counted import counted, key_of
from research.reporting.runs import Run
from research.runs import record

LAWS = {"power": 1, "chinchilla": 2}  # sizes of each
LEAST = {"power": 4, "chinchilla": 7}  # points; one or two more than a law has parameters
SYMBOLS = {"parameters": "N", "tokens": "D", "flops": "C", "width": "w"}


class Point(NamedTuple):
    sizes: tuple[float, ...]
    losses: tuple[float, ...]  # of each seed
    runs: tuple[str, ...]


def points(
    runs: Sequence[Run], law: str, over: Sequence[str], metric: str = "loss", hold_out: int = 0
) -> tuple[list[Point], list[Point]]:
    """One point per size, with the settings of the lowest mean over seeds; the largest are held out.

    The largest are those with the largest product of sizes. Only finished runs count, by their last
    evaluation; copies of a run do not. Raises UsageError if there are too few points to fit.
    """
    groups: dict[tuple, list[tuple[Run, float]]] = {}
    for run, value in counted(runs, metric):
        if value > 0:  # a run that stops at a target has another last step
            key = (*key_of(run.settings), run.settings.get("run.stop_at"))
            groups.setdefault(key, []).append((run, value))
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


def tokens(run: Run) -> float:
    """Tokens of all batches so far, padding included."""
    rows = [row["tokens"] for row in run.split("train") if "tokens" in row]
    return rows[-1] if rows else run.step * run.settings["data.batch"] * run.settings["data.length"]


def parameters(run: Run) -> float:
    """All parameters, embeddings included."""
    from research.models.parameters import components

    return sum(part.count for part in components(record.experiment_of(run.directory, warn=False).model))


def flops(run: Run) -> float:
    """Forward and backward, by the formula of `lineage bench`."""
    from research.bench.cost import flops_a_token

    return flops_a_token(record.experiment_of(run.directory, warn=False)) * tokens(run)


SIZES: dict[str, Callable[[Run], float]] = {
    "parameters": parameters,
    "tokens": tokens,
    "flops": flops,
    "width": lambda run: run.settings["model.width"],
}
