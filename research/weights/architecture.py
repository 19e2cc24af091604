"""The settings of a model that its weights decide."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from research.config import Model
from research.config.names import BLOCKS
from research.config.settings import flatten
from research.errors import UsageError
from research.weights.folding import folds
from research.weights.layout import Weights

# Fields that decide the shapes of a model's parameters, or the function that they compute.
FIELDS = (
    *("vocabulary", "context", "width", "depth", "heads", "hidden", "block"),
    *(
        "norm",
        "normalization",
        "norm_epsilon",
        "positions",
        "activation",
        "qk_norm",
        "left_only",
        "bias",
        "tied",
        "scaling",
        "base_width",
        "base_heads",
    ),
)

DROPOUT = "model.own.block.dropout"


def choose_blocks(theirs: Model, blocks: tuple[int, ...]) -> Model:
    """The model of some blocks of another, `start.blocks`; none: all. Raises UsageError for a missing one."""
    if not blocks:
        return theirs
    if max(blocks) >= theirs.depth:
        raise UsageError(f"start.blocks has {max(blocks)}; expected blocks from 0 to {theirs.depth - 1}")
    return replace(theirs, depth=len(blocks))


def with_blocks(weights: Weights, blocks: tuple[int, ...]) -> Weights:
    """The weights of `choose_blocks`."""
    config = choose_blocks(weights.config, blocks)
    arrays = {
        path: array[list(blocks)] if path.startswith("blocks/") else array
        for path, array in weights.arrays.items()
    }
    return weights._replace(config=config, arrays=arrays)


def others(theirs: Model, settings: Mapping[str, Any]) -> dict[str, Any]:
    """{"model.heads": theirs, …} for those `settings` that differ in the weights.

    A block may take over the parameters of a built-in one that it also has, and of one that folds. Raises
    UsageError for a model of another family.
    """
    family = settings.get("model.family", theirs.family)
    if family != theirs.family:
        raise UsageError(f"made with model.family={theirs.family}, the experiment has {family}")
    names = (f"model.{field}" for field in FIELDS)
    found = {
        name: getattr(theirs, field)
        for name, field in zip(names, FIELDS, strict=True)
        if name in settings and not _equal(theirs, field, settings[name])
    }
    for name, value in flatten(theirs.own, "model.own.").items():
        if name == DROPOUT and theirs.block == "lora":  # the experiment decides it, like model.dropout
            continue
        of = f"model.{name.split('.')[2]}"  # the part that declares it
        if of in found or settings.get(name, value) != value:
            found[name] = value
    return found


def _equal(theirs: Model, field: str, value: Any) -> bool:
    if field == "hidden":  # none means 4 times their width
        return replace(theirs, hidden=value).mlp_width == theirs.mlp_width
    if field == "block" and (BLOCKS.is_builtin(theirs.block) or folds(theirs)):
        return True
    return getattr(theirs, field) == value
