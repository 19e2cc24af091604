"""Splits a model into the parameters that train and those that `optimizer.freeze` freezes.

Only the trained part is differentiated, clipped, updated and averaged, so frozen parameters keep their bits
and cost no optimizer state. Of a stack of blocks, the part has the rows of the trained blocks.
"""

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import tree_map_with_path

from research.config import Model
from research.config.sections.freezing import BLOCKS, trained_blocks, trains
from research.models.parameters import by_path, path_name


class Trained(NamedTuple):
    """The part of a model that trains, a model without the frozen parameters (None)."""

    select: Callable[[Any], Any]  # model → part
    merge: Callable[[Any, Any], Any]  # (model, part) → the model, overwritten with the part
    combine: Callable[[Any, Any], Any]  # as `merge`, but a concatenation of both, to differentiate
    frozen_blocks: Callable[[Any], int]  # model → the number of first blocks in which nothing trains


ALL = Trained(lambda model: model, lambda model, part: part, lambda model, part: part, lambda model: 0)


def trained(freeze: str | None, model: Model) -> Trained:
    """The part that `optimizer.freeze` leaves of models of this kind."""
    if freeze is None:
        return ALL
    settings = {"freeze": freeze, "model": model}
    return Trained(
        select=partial(_select, **settings),
        merge=partial(_merge, join=_overwritten, **settings),
        combine=partial(_merge, join=_concatenated, **settings),
        frozen_blocks=partial(_frozen_blocks, **settings),
    )


def _select(tree: Any, *, freeze: str, model: Model) -> Any:
    def select(path, leaf: Array) -> Array | None:
        name = path_name(path)
        if not name.startswith(BLOCKS):
            return leaf if trains(freeze, name, model) else None
        runs = trained_blocks(freeze, name, model)
        if _all(runs, model):
            return leaf
        rows = [lax.slice_in_dim(leaf, run.start, run.stop) for run in runs]
        return jnp.concatenate(rows) if rows else None

    return tree_map_with_path(select, tree)


def _merge(tree: Any, part: Any, *, join: Callable[..., Array], freeze: str, model: Model) -> Any:
    parts = by_path(part)

    def merge(path, leaf: Array) -> Array:
        name = path_name(path)
        if name not in parts:
            return leaf
        runs = trained_blocks(freeze, name, model) if name.startswith(BLOCKS) else None
        return parts[name] if runs is None or _all(runs, model) else join(leaf, parts[name], runs)

    return tree_map_with_path(merge, tree)


def _overwritten(leaf: Array, part: Array, runs: list[range]) -> Array:
    """`leaf` with the rows of `runs` taken from `part`; in place, where the leaf is not used again."""
    for run, rows in zip(runs, _rows(part, runs), strict=True):
        leaf = lax.dynamic_update_slice_in_dim(leaf, rows, run.start, axis=0)
    return leaf


def _concatenated(leaf: Array, part: Array, runs: list[range]) -> Array:
    """The same array. A compiler sees that its last rows are those of `part`, and copies none."""
    pieces, end = [], 0
    for run, rows in zip(runs, _rows(part, runs), strict=True):
        pieces += [lax.slice_in_dim(leaf, end, run.start), rows]
        end = run.stop
    return jnp.concatenate([*pieces, lax.slice_in_dim(leaf, end, None)])


def _rows(part: Array, runs: list[range]) -> list[Array]:
    """The rows of `part` for each run."""
    ends = list(accumulate(map(len, runs)))
    return [lax.slice_in_dim(part, end - len(run), end) for run, end in zip(runs, ends, strict=True)]


def _frozen_blocks(tree: Any, *, freeze: str, model: Model) -> int:
    runs = [trained_blocks(freeze, name, model) for name in by_path(tree) if name.startswith(BLOCKS)]
    return min((run[0].start for run in runs if run), default=model.depth if runs else 0)


def _all(runs: list[range], model: Model) -> bool:
    return runs == [range(model.depth)]


def count_trained(freeze: str | None, shapes: Any, model: Model) -> int:
    """The number of parameters that train, of a model's arrays or shapes."""
    part = jax.eval_shape(trained(freeze, model).select, shapes)
    return sum(leaf.size for leaf in jax.tree.leaves(part))
