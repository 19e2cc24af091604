"""Names that a state's arrays had in checkpoints of earlier formats."""

from collections.abc import Iterable
from typing import Any

from jax import Array

from research.models.parameters import by_path

RENAMED = {  # part of a path → its name in format 1
    "opt_state": "moments",
    "ema_params": "average",
    "task_head": "answers",
    "special_embeddings": "marks",
}


def former_names(format: int, names: Iterable[str]) -> dict[str, str]:
    """{name: its name in a checkpoint of `format`}."""
    if format > 1:
        return {name: name for name in names}
    return {name: "/".join(_former(name)) for name in names}


def in_former_order(tree: Any) -> list[Array]:
    """The arrays of `tree`, sorted by their names in format 1.

    The last bits of a sum over a model's arrays depend on their order. This order lets a run that began under
    the old names continue to the same bits.
    """
    arrays = by_path(tree)
    return [arrays[name] for name in sorted(arrays, key=_former)]


def _former(name: str) -> list[str]:
    return [RENAMED.get(part, part) for part in name.split("/")]
