"""Which axis of which parameter is split over which axis of the mesh: rules by path.

`fsdp` devices each keep a part of every large array and put a layer together when its turn comes
(Rajbhandari et al., 2020, stage 3); `tensor` devices each work on some heads and hidden features (Shoeybi et
al., 2019). Moments and averages follow the parameters that their paths end in.
"""

import math
import re
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.tree_util import tree_map_with_path

from research.models.parameters import name

BOTH = ("fsdp", "tensor")

RULES = (  # the first that fits; blocks have their depth in front
    # 50,257 divides by nothing useful, so tables are split along their width.
    (r"(tokens|special_embeddings|positions|segments)$", (None, BOTH)),
    (r"blocks/attention/qkv/kernel$", (None, "fsdp", None, "tensor")),
    (r"blocks/attention/qkv/bias$", (None, None, BOTH)),
    (r"blocks/mlp/expand/kernel$", (None, "fsdp", "tensor")),
    (r"blocks/(attention|mlp)/output/kernel$", (None, "tensor", "fsdp")),
    (r"blocks/.*(bias|scale)$", (None, BOTH)),
    (r"kernel$", ("fsdp", "tensor")),
)


def shardings(tree: Any, mesh: Mesh) -> Any:
    """A tree like `tree`; whole on every device where no rule fits or an axis does not divide."""

    def of(path, leaf) -> NamedSharding:
        axes = next((axes for pattern, axes in RULES if re.search(pattern, name(path))), ())
        if len(axes) != leaf.ndim:  # factored moments have fewer
            return NamedSharding(mesh, P())
        return NamedSharding(mesh, P(*map(_if_divides, axes, leaf.shape)))

    def _if_divides(axis, size):
        parts = math.prod(mesh.shape[part] for part in ((axis,) if isinstance(axis, str) else axis or ()))
        return axis if size % parts == 0 else None

    return tree_map_with_path(of, tree)


def bytes_on_each(tree: Any, mesh: Mesh) -> int:
    """Bytes of `tree` that the fullest device keeps under `shardings`."""
    leaves = zip(jax.tree.leaves(tree), jax.tree.leaves(shardings(tree, mesh)), strict=True)
    return sum(math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf, sharding in leaves)
