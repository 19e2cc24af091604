"""Models whose every parameter is random, norms and biases too, drawn by NumPy, which compiles nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from research.config import Model
from research.models import build
from research.models.parameters import path_name


def drawn(config: Model, seed: int = 1, deviation: float = 0.3):
    """Scales vary around 1, all else around 0."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        mean = 1.0 if path_name(path).endswith("scale") else 0.0
        return jnp.asarray(rng.normal(mean, deviation, leaf.shape), jnp.float32)

    abstract = jax.eval_shape(partial(build, config), key=jax.random.key(0))
    return jax.tree_util.tree_map_with_path(draw, abstract)
