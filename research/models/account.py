"""The parameter account, read off the model's own shapes."""

import math
from typing import NamedTuple

import jax
from jax.tree_util import keystr, tree_leaves_with_path

from research import models
from research.config import Model


class Component(NamedTuple):
    name: str  # the parameter's path
    shape: tuple[int, ...]  # of stacked blocks: depth first
    count: int


def account(config: Model) -> list[Component]:
    """Every parameter of a model, without making any."""
    abstract = jax.eval_shape(lambda key: models.build(config, key=key), jax.random.key(0))
    return [
        Component(name(path), leaf.shape, math.prod(leaf.shape))
        for path, leaf in tree_leaves_with_path(abstract)
    ]


def name(path) -> str:
    """blocks/mlp/expand/kernel: how a parameter is called in accounts and on disk."""
    return keystr(path, simple=True, separator="/").removesuffix("/value")
