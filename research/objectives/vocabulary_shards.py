"""The vocabulary loss over a mesh: each device has its own rows and, of `tensor`, its own words.

The compiler would gather the table for each piece of a batch and sum its gradient after each. Here the table
is gathered once before the pieces, and its gradient is summed once after them.

Shapes as in `research.objectives.vocabulary_loss`; on a device, B and V count its own rows and words.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import PartitionSpec as P

from research.models.axes import current_mesh, is_one_of_shards, rows_split_over

NOWHERE = 2**31 - 1


class Words(NamedTuple):
    """A device's part of the vocabulary, from `first` on; without an axis, all of it."""

    axis: str | None = None
    first: Array | int = 0

    def total(self, x: Array) -> Array:
        return x if self.axis is None else lax.psum(x, self.axis)

    def joined(self, best: Array, denominator: Array, place: Array | None) -> tuple[Array, Array, Any]:
        """Over all words: the largest logit, the sum of exp(logit - largest), the index of the largest."""
        if self.axis is None:
            return best, denominator, place
        largest = lax.pmax(lax.stop_gradient(best), self.axis)  # a shift, on which no result depends
        denominator = lax.psum(denominator * jnp.exp(best - largest), self.axis)
        if place is not None:
            place = lax.pmin(jnp.where(best == largest, place + self.first, NOWHERE), self.axis)
        return largest, denominator, place

    def at(self, x_BLV: Array, targets_BL: Array) -> Array:
        """`x` at the targets (B, L, 1), from the devices that have them."""
        if self.axis is None:
            return jnp.take_along_axis(x_BLV, targets_BL[..., None], axis=-1)
        own, count = targets_BL - self.first, x_BLV.shape[-1]
        found = jnp.take_along_axis(x_BLV, jnp.clip(own, 0, count - 1)[..., None], axis=-1)
        return lax.psum(jnp.where(((own >= 0) & (own < count))[..., None], found, 0), self.axis)


def word_shards() -> int:
    """The number of devices that split the vocabulary."""
    mesh = current_mesh()
    return 1 if mesh is None else mesh.shape["tensor"]


def on_shards(
    function: Callable[..., tuple[Any, Any]],
    rows: tuple[Array, Array, Array],
    table_VD: Array,
    bias_V: Array | None,
    differentiated: bool,
) -> tuple[Any, Any]:
    """Runs `function(words, rows, table, bias)` on each device and sums its results over the mesh.

    `rows` are states (B, L, D), targets and weights (B, L); V is a multiple of `word_shards()`. Returns sums,
    and gradients of states, table and bias, or None unless `differentiated`.
    """
    mesh = current_mesh()
    if mesh is None:
        return function(Words(), rows, table_VD, bias_V)
    over = rows_split_over(len(rows[0]))
    words = "tensor" if mesh.shape["tensor"] > 1 else None
    scattered = "fsdp" in over and table_VD.shape[1] % mesh.shape["fsdp"] == 0

    def mine(rows, table, bias):
        first = 0 if words is None else lax.axis_index(words) * len(table)
        sums, gradients = function(Words(words, first), rows, table, bias)
        sums = jax.tree.map(lambda x: lax.psum(x, over), sums)
        if gradients is None:
            return sums, None
        dx, dtable, dbias = gradients
        if scattered:
            dtable = lax.psum_scatter(dtable, "fsdp", scatter_dimension=1, tiled=True)
        dtable = lax.psum(dtable, tuple(axis for axis in over if axis != "fsdp" or not scattered))
        dbias = None if dbias is None else lax.psum(dbias, over)
        return sums, (Words(words).total(dx), dtable, dbias)

    gradients = (P(over), P(words, "fsdp" if scattered else None), P(words)) if differentiated else None
    specs, out = (P(over), P(words), P(words)), (P(), gradients)
    split = jax.shard_map(mine, in_specs=specs, out_specs=out, check_vma=False)
    if is_one_of_shards():
        split = _with_shards_in_place(split, mine, specs, out)
    return split(rows, table_VD, bias_V)


def _with_shards_in_place(split: Callable, mine: Callable, specs: tuple, out: tuple) -> Callable:
    """`split`, which a vmap over the shards of `data` runs on each shard where it is.

    Otherwise each device would have an axis of one shard, which makes compilers transpose logits.
    """
    split = jax.custom_batching.custom_vmap(split)

    @split.def_vmap
    def of_all(size, batched, rows, table, bias):
        def one(rows, table, bias):
            found = mine(jax.tree.map(lambda x: x[0], rows), table, bias)
            return jax.tree.map(lambda x: x[None], found)

        specs_of_all = P("data", *specs[0]), *specs[1:]
        out_of_all = jax.tree.map(lambda spec: P("data", *spec), out)
        over_all = jax.shard_map(one, in_specs=specs_of_all, out_specs=out_of_all, check_vma=False)
        found = over_all(rows, table, bias)
        return found, jax.tree.map(lambda _: True, found)

    return split
