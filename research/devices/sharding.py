"""Splits the arrays of a state over a mesh, as the parameters declare.

See `research.models.axes` for the mesh and the declarations. Moments and averages are trees of the same
`nnx.Param`s as the model, so they follow their parameters.
"""

import math
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.tree_util import tree_map_with_path

from research.errors import UsageError
from research.models.axes import Axes, Axis, declared_axes, declared_heads
from research.models.parameters import path_name

LARGE = 2**16  # elements; arrays of this size must declare how they are split


def shardings(tree: Any, mesh: Mesh) -> Any:
    """The shardings of `tree`, as a tree.

    An axis stays whole if the devices do not divide its size or its heads. So does a vector, since splitting
    it saves nothing and costs a message; a stack of vectors, one per block, is split. Raises UsageError for a
    large array without a declaration, unless the mesh splits no parameters.
    """

    def of(path, node) -> Any:
        if not isinstance(node, nnx.Variable):
            return _sharding(mesh, path_name(path), node.shape, None)
        axes = declared_axes(node)
        if axes is not None and (declared_heads(node) or 0) % mesh.shape["tensor"]:
            axes = tuple(tuple(part for part in _parts(axis) if part != "tensor") or None for axis in axes)
        # An optimizer's copy may hold no array, several arrays, or one with fewer axes.
        return jax.tree.map(lambda leaf: _sharding(mesh, path_name(path), leaf.shape, axes), node)

    return tree_map_with_path(of, tree, is_leaf=lambda node: isinstance(node, nnx.Variable))


def _sharding(mesh: Mesh, path: str, shape: tuple[int, ...], axes: Axes | None) -> NamedSharding:
    if axes is None or len(axes) < len(shape):
        _check_small(mesh, path, shape)
        return NamedSharding(mesh, P())
    if len(axes) > len(shape) or len(shape) == 1:  # Adafactor's factored moments have fewer axes
        return NamedSharding(mesh, P())
    unknown = {part for axis in axes for part in _parts(axis)} - set(mesh.axis_names)
    if unknown:
        raise UsageError(
            f"{path}: declares the axes {', '.join(sorted(unknown))}; expected some of "
            + ", ".join(mesh.axis_names)
        )
    return NamedSharding(mesh, P(*(_if_divides(mesh, *pair) for pair in zip(axes, shape, strict=True))))


def _check_small(mesh: Mesh, path: str, shape: tuple[int, ...]) -> None:
    if math.prod(shape) >= LARGE and mesh.shape["fsdp"] * mesh.shape["tensor"] > 1:
        raise UsageError(
            f"{path} {shape}: declares no axes, so every device would keep a copy; expected it to be made by "
            "research.models.axes.parameter, or parallel.fsdp=1 parallel.tensor=1"
        )


def _if_divides(mesh: Mesh, axis: Axis, size: int) -> Axis:
    return axis if size % math.prod(mesh.shape[part] for part in _parts(axis)) == 0 else None


def _parts(axis: Axis) -> tuple[str, ...]:
    return (axis,) if isinstance(axis, str) else axis or ()


def bytes_on_each(tree: Any, layout: Any) -> int:
    """Bytes of `tree` on each device; `layout` is the tree of its shardings."""
    leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(layout), strict=True)
    return sum(math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf, sharding in leaves)
