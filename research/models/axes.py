"""Splits parameters and batches over a mesh of devices.

A mesh has three axes. `data` splits a batch's rows only. `fsdp` splits the rows too, and each of its devices
keeps a part of every large array, gathering a layer when its turn comes (Rajbhandari et al., 2020, stage 3).
Devices of `tensor` share the rows, and each works on some heads and hidden features (Shoeybi et al., 2019).
`research.devices` makes the mesh and places the state on it.
"""

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import jax
from flax import nnx
from jax import Array, lax
from jax.sharding import PartitionSpec

Axis = str | tuple[str, ...] | None  # mesh axes that split one axis of an array; None: it is not split
Axes = tuple[Axis, ...]

ROWS = ("data", "fsdp")  # split a batch's rows
BOTH = ("fsdp", "tensor")  # split an axis that is not contracted: a table's width

_row_axes: ContextVar[tuple[str, ...]] = ContextVar("row_axes", default=ROWS)


def parameter(value: Array, *axes: Axis, heads: int | None = None) -> nnx.Param:
    """A parameter that declares which mesh axes may split each of its axes.

    The declaration is metadata of the `nnx.Param`, so gradients, moments and averages carry it along. An axis
    whose size the devices do not divide stays whole; so does, over `tensor`, one of so many `heads` that they
    do not divide. Raises ValueError for another number of axes.
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


def with_depth(blocks: Any) -> Any:
    """`blocks`, whose parameters have grown a leading axis of depth, with that axis declared: never split."""

    def add(variable: nnx.Variable) -> nnx.Variable:
        axes = declared_axes(variable)
        return variable if axes is None else variable.replace(axes=(None, *axes))

    return jax.tree.map(add, blocks, is_leaf=lambda x: isinstance(x, nnx.Variable))


def split_rows(x: Array) -> Array:
    """`x` (B, …) with its rows and nothing else split over the mesh; unchanged without a mesh.

    Parameters may be split along the axis that a product contracts. Without this constraint the compiler
    would gather a whole batch of states rather than a layer's parameters.
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
    """The axes of the mesh that split so many rows; none where their devices do not divide them."""
    mesh = current_mesh()
    return () if mesh is None else _dividing(mesh, _row_axes.get(), rows)


def is_one_of_shards() -> bool:
    """Whether `over_shards` computes what is being traced."""
    return _row_axes.get() != ROWS


def over_shards(function: Callable, *arguments: Any) -> Any:
    """`function` of each data-parallel shard's part of the arguments, whose first axis is that of the shards.

    So are the results: what each shard finds stays with it, where a sum over rows would be sent.
    """
    token = _row_axes.set(("fsdp",))
    try:
        results = jax.vmap(function, spmd_axis_name="data")(*arguments)
    finally:
        _row_axes.reset(token)
    return jax.tree.map(lambda x: lax.with_sharding_constraint(x, _first_split(x.ndim)), results)


def on_each_device(function: Callable, heads: Any, rows: Any = None, whole: Any = None) -> Array:
    """`function(place, heads, rows, …)` on each device, of its own part of the arrays, for a kernel of ours.

    The compiler does not split a kernel that it has not written. `heads` are trees of arrays (B, …, H, K),
    as the result is, split over rows and heads; `rows` are of (B, …), split over rows; `whole` are not split.
    `place` is the number of a device's first row and first head, and the number of all heads.
    """
    others = () if whole is None else (whole,)
    first = jax.tree.leaves(heads)[0]
    mesh, (total_rows, *_, total_heads, _) = current_mesh(), first.shape
    if mesh is None:
        return function((0, 0, total_heads), heads, rows, *others)
    by_rows = rows_split_over(total_rows)
    by_heads = _dividing(mesh, ("tensor",), total_heads)

    def split(x: Array) -> PartitionSpec:
        return PartitionSpec(by_rows, *[None] * (x.ndim - 3), by_heads, None)

    def mine(heads, rows, *others):
        own = jax.tree.leaves(heads)[0].shape
        place = _index(mesh, by_rows) * own[0], _index(mesh, by_heads) * own[-2], total_heads
        return function(place, heads, rows, *others)

    specs = jax.tree.map(split, heads), jax.tree.map(lambda _: PartitionSpec(by_rows), rows)
    specs += tuple(jax.tree.map(lambda _: PartitionSpec(), other) for other in others)
    out = PartitionSpec(by_rows, None, by_heads, None)
    return jax.shard_map(mine, in_specs=specs, out_specs=out, check_vma=False)(heads, rows, *others)


def _dividing(mesh: jax.sharding.AbstractMesh, axes: tuple[str, ...], size: int) -> tuple[str, ...]:
    """The axes, or none where their devices do not divide `size`."""
    return axes if size % math.prod(mesh.shape[axis] for axis in axes) == 0 else ()


def _index(mesh: jax.sharding.AbstractMesh, axes: tuple[str, ...]) -> Array | int:
    """This device's place along the axes together, the last one the fastest."""
    place = 0
    for axis in axes:
        place = place * mesh.shape[axis] + lax.axis_index(axis)
    return place


def data_shards() -> int:
    """Among how many devices the mesh splits rows without splitting parameters."""
    mesh = current_mesh()
    return 1 if mesh is None else mesh.shape["data"]


def _first_split(axes: int) -> PartitionSpec:
    return PartitionSpec("data", *[PartitionSpec.UNCONSTRAINED] * (axes - 1))


def current_mesh() -> jax.sharding.AbstractMesh | None:
    """The mesh that is being traced for. Inside a pmap there is another one, whose rows are split already."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if set(ROWS) <= set(mesh.axis_names) else None
