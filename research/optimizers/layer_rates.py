"""Layer-wise decay of the learning rate, `optimizer.rate.layer_decay`: lower layers change less.

The rate of a parameter is multiplied by the decay to the power of its steps down from the heads: 0 for heads
and all else that follows the blocks, depth − n for block n (from 0), depth + 1 for the embeddings. Howard &
Ruder (2018) and Bao et al. (2021) count like this; in the code of ELECTRA (Clark et al., 2020) every power
but the heads' is greater by 1.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import tree_map_with_path

from research.config import Model
from research.config.sections.freezing import BLOCKS, is_embedding, trained_blocks
from research.models.parameters import path_name


def powers(tree: Any, freeze: str | None, model: Model) -> Any:
    """The power of each parameter of the trained part `tree`; of stacked blocks an array (N, 1, …)."""

    def power(path, leaf: Any) -> int | np.ndarray:
        name = path_name(path)
        if not name.startswith(BLOCKS):
            return model.depth + 1 if is_embedding(name, model) else 0
        blocks = [block for run in trained_blocks(freeze, name, model) for block in run]
        return (model.depth - np.asarray(blocks, np.float32)).reshape(-1, *[1] * (leaf.ndim - 1))

    return tree_map_with_path(power, tree)


def by_layer(decay: Any, freeze: str | None, model: Model) -> optax.GradientTransformation:
    """Multiplies final updates, weight decay included, by `decay` (a number, or traced) to their powers."""

    def update(updates: Any, _: Any) -> Any:
        def times(u, power):
            return u if np.ndim(power) == 0 and power == 0 else u * jnp.power(decay, jnp.float32(power))

        return jax.tree.map(times, updates, powers(updates, freeze, model))

    return optax.stateless(update)
