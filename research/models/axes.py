"""Splits parameters and batches over a mesh of devices.

A mesh has three axes. `data` splits only a batch's rows. `fsdp` also splits the rows, and each of its devices
keeps a part of every large array and gathers a layer when needed (Rajbhandari et al., 2020, stage 3). Devices
of `tensor` share the rows; each computes some heads and hidden features (Shoeybi et al., 2019).
`research.devices` makes the mesh and places the state on it.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax import Array, lax
from jax.sharding import PartitionSpec

from research.scoped import Scoped

Axis = str | tuple[str, ...] | None  # mesh axes that split one axis of an array; None: not split
Axes = tuple[Axis, ...]

ROWS = ("data", "fsdp")  # split a batch's rows
BOTH = ("fsdp", "tensor")  # split an axis that is not contracted: a table's width

_row_axes = Scoped[tuple[str, ...]]("mesh axes of the rows", ROWS)


def parameter(value: Array, *axes: Axis, heads: int | None = None) -> nnx.Param:
    """Creates a parameter that declares which mesh axes may split each of its axes.

    The declaration is metadata of the `nnx.Param`, so gradients, moments and averages carry it along. An axis
    stays whole if the devices do not divide its size or, over `tensor`, its number of `heads`. Raises
    ValueError for another number of axes.
    """
    if len(axes) != value.ndim:
        raise ValueError(
            f"a parameter of shape {value.shape} with axes {axes}: expected {value.ndim} of them"
        )
    return nnx.Param(value, axes=axes, heads=heads)


def declared_axes(variable: nnx.Variable) -> Axes | None:
    return variable.get_metadata("axes", None)


def declared_heads(variable: nnx.Variable) -> int | None:
    return variable.get_metadata("heads", None)


def stacked(modules: Any) -> Any:
    """Declares the leading axis of modules that `jax.vmap` made, such as blocks, as never split."""

    def add(variable: nnx.Variable) -> nnx.Variable:
        axes = declared_axes(variable)
        return variable if axes is None else variable.replace(axes=(None, *axes))

    return jax.tree.map(add, modules, is_leaf=lambda x: isinstance(x, nnx.Variable))


def split_rows(x: Array) -> Array:
    """Splits only the rows of `x` (B, …) over the mesh; `x` is unchanged without a mesh.

    Parameters may be split along a contracted axis. Without this constraint the compiler would gather the
    states of a whole batch instead of a layer's parameters.
    """
    return x if current_mesh() is None else lax.with_sharding_constraint(x, PartitionSpec(_row_axes.get()))


def split_features(x: Array) -> Array:
    """`x` (B, …, D) split as a table's rows are that were looked up in it, so that it is sent in its type."""
    mesh = current_mesh()
    if mesh is None:
        return x
    features = _dividing(mesh, ("tensor",), x.shape[-1])
    spec = PartitionSpec(_row_axes.get(), *[None] * (x.ndim - 2), features)
    return lax.with_sharding_constraint(x, spec)


def rows_split_over(rows: int) -> tuple[str, ...]:
    """The mesh axes that split this number of rows; none if their devices do not divide it."""
    mesh = current_mesh()
    return () if mesh is None else _dividing(mesh, _row_axes.get(), rows)


def is_one_of_shards() -> bool:
    """Whether this trace is inside `over_shards`."""
    return _row_axes.get() != ROWS


def over_shards(function: Callable, *arguments: Any) -> Any:
    """Applies `function` to each data-parallel shard's part of the arguments, whose first axis is the shards.

    The results have the same first axis: each shard keeps its own, whereas a sum over rows would be sent.
    """
    with _row_axes.being(("fsdp",)):
        results = jax.vmap(function, spmd_axis_name="data")(*arguments)
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x, _first_split(x.ndim)), results)


def on_each_device(function: Callable, heads: Any, rows: Any = None, whole: Any = None) -> Array:
    """Runs `function(place, heads, rows, whole)` on each device, on its part of the arrays.

    For custom kernels, which the compiler cannot split. `heads` are trees of arrays (B, …, H, K), like the
    result, split over rows and heads; `rows` are (B, …), split over rows; `whole` are not split. `place`
    holds the indices of the device's first row and first head, and the total number of heads.
    """
    first = jax.tree.leaves(heads)[0]
    mesh, (total_rows, *_, total_heads, _) = current_mesh(), first.shape
    if mesh is None:
        return function((0, 0, total_heads), heads, rows, whole)
    by_rows = rows_split_over(total_rows)
    by_heads = _dividing(mesh, ("tensor",), total_heads)

    def split(x: Array) -> PartitionSpec:
        return PartitionSpec(by_rows, *[None] * (x.ndim - 3), by_heads, None)

    def mine(heads, rows, whole):
        own = jax.tree.leaves(heads)[0].shape
        place = _index(mesh, by_rows) * own[0], _index(mesh, by_heads) * own[-2], total_heads
        return function(place, heads, rows, whole)

    specs = jax.tree.map(split, heads), PartitionSpec(by_rows), PartitionSpec()
    out = PartitionSpec(by_rows, None, by_heads, None)
    return jax.shard_map(mine, in_specs=specs, out_specs=out, check_vma=False)(heads, rows, whole)


def _dividing(mesh: jax.sharding.AbstractMesh, axes: tuple[str, ...], size: int) -> tuple[str, ...]:
    """The axes, or none if their devices do not divide `size`."""
    return axes if size % math.prod(mesh.shape[axis] for axis in axes) == 0 else ()


def _index(mesh: jax.sharding.AbstractMesh, axes: tuple[str, ...]) -> Array | int:
    """This device's index over the axes together; the last one varies fastest."""
    place = 0
    for axis in axes:
        place = place * mesh.shape[axis] + lax.axis_index(axis)
    return place


def data_shards() -> int:
    """The number of devices over which the mesh splits rows but not parameters."""
    mesh = current_mesh()
    return 1 if mesh is None else mesh.shape["data"]


def _first_split(axes: int) -> PartitionSpec:
    return PartitionSpec("data", *[PartitionSpec.UNCONSTRAINED] * (axes - 1))


def current_mesh() -> jax.sharding.AbstractMesh | None:
    """The mesh of this trace; None inside a pmap, which has already split the rows."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if set(ROWS) <= set(mesh.axis_names) else None
