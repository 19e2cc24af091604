"""Parameters by path: their names in tables and on disk, and the arrays of a tree by name."""

import math
from typing import Any, NamedTuple

import jax
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path

from research import models
from research.config import Model

Shape = tuple[int, ...]


class Component(NamedTuple):
    name: str  # the parameter's path
    shape: Shape  # of stacked blocks: depth first
    count: int


def components(config: Model) -> list[Component]:
    """Every parameter of a model, without allocating any and without a device."""
    abstract = jax.eval_shape(lambda: models.build(config, key=jax.random.key(0)))
    return [
        Component(path_name(path), leaf.shape, math.prod(leaf.shape))
        for path, leaf in tree_leaves_with_path(abstract)
    ]


def path_name(path: Any) -> str:
    """blocks/mlp/expand/kernel: the name of a parameter in tables and on disk."""
    return keystr(path, simple=True, separator="/").removesuffix("/value")


def by_path(tree: Any) -> dict[str, Any]:
    """{'model/blocks/mlp/expand/kernel': array, …}: readable, and independent of the model library."""
    return {path_name(path): leaf for path, leaf in tree_leaves_with_path(tree)}


def refill(tree: Any, leaves: dict[str, Any]) -> Any:
    """`tree` with its leaves taken from `leaves` by path."""
    return tree_map_with_path(lambda path, _: leaves[path_name(path)], tree)
