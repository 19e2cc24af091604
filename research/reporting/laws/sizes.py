"""Sizes of a run for a law. Only parameters and operations, counted from the model's shapes, import JAX."""

from collections.abc import Callable

from research.reporting.runs import Run
from research.runs import record


def width(run: Run) -> float:
    return run.settings["model.width"]


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
    "width": width,
}
