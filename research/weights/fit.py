"""Fills a model with weights, and reports parameters that are found, missing and unused."""

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpy.typing import NDArray

from research.errors import UsageError, did_you_mean
from research.models.parameters import by_path, refill

M = TypeVar("M")


class Report(NamedTuple):
    """Names and shapes of parameters: found, missing in the weights, unused by the model."""

    found: dict[str, tuple[int, ...]]
    missing: dict[str, tuple[int, ...]]
    unused: dict[str, tuple[int, ...]]

    def __str__(self) -> str:
        rows = [
            (title, name, " × ".join(map(str, shape)), f"{math.prod(shape):,}")
            for title, part in self._asdict().items()
            for name, shape in part.items()
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        count = sum(math.prod(shape) for shape in self.found.values())
        return "\n".join(
            [
                f"{title:<{widths[0]}}  {name:<{widths[1]}}  {shape:>{widths[2]}}  {size:>{widths[3]}}"
                for title, name, shape, size in rows
            ]
            + [
                f"{len(self.found)} parameters found ({count:,} numbers), {len(self.missing)} missing and "
                f"left at their initial values, {len(self.unused)} not used"
            ]
        )


def fill(model: M, found: Mapping[str, NDArray]) -> tuple[M, Report]:
    """Replaces the parameters of `model` that are in `found`, by path; the others keep their values.

    Raises UsageError for a parameter of another shape.
    """
    leaves = by_path(model)
    report = compare({path: leaf.shape for path, leaf in leaves.items()}, found)
    # Copy, since a training step reuses the memory of its state.
    filled = {path: jnp.array(found[path], leaves[path].dtype) for path in report.found}
    return refill(model, leaves | filled), report


def replaced(model: M, changes: Mapping[str, ArrayLike]) -> M:
    """`model` with other values for some parameters, by path, in these parameters' types.

    Raises UsageError for an unknown path, another shape, and values that are not numbers.
    """
    leaves = by_path(model)
    return refill(model, leaves | {path: _checked(path, array, leaves) for path, array in changes.items()})


def _checked(path: str, array: ArrayLike, leaves: Mapping[str, Array]) -> Array:
    if path not in leaves:
        raise UsageError(f"{path}: no such parameter{did_you_mean(path, leaves)}")
    found, leaf = np.asarray(array), leaves[path]
    if found.shape != leaf.shape:
        raise UsageError(f"{path}: shape {found.shape}: expected {leaf.shape}")
    if not (found.dtype.kind in "iuf" or jnp.issubdtype(found.dtype, jnp.floating)):
        raise UsageError(f"{path}: type {found.dtype}: expected numbers")
    return jnp.asarray(found, leaf.dtype)


def compare(needed: Mapping[str, tuple[int, ...]], found: Mapping[str, NDArray]) -> Report:
    """Which of the `needed` shapes are found. Raises UsageError for a parameter of another shape."""
    for path, shape in needed.items():
        if path in found and found[path].shape != shape:
            raise UsageError(f"{path}: the weights have {found[path].shape}, the model needs {shape}")
    return Report(
        found={path: shape for path, shape in needed.items() if path in found},
        missing={path: shape for path, shape in needed.items() if path not in found},
        unused={path: array.shape for path, array in found.items() if path not in needed},
    )
