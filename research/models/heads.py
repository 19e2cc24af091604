"""What stands on top of a model's states."""

import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.config import Model
from research.models.transformer import ACTIVATIONS, Initializer, LayerNorm, Linear


class MaskedHead(nnx.Module):
    """BERT's masked-token head up to its output table, which is the input's; `bias` is added after it."""

    def __init__(self, config: Model, init: Initializer, *, key: Array):
        width, precision = config.width, config.precision
        self.transform = Linear(width, (width,), init, True, key=key, precision=precision)
        self.norm = LayerNorm(config.width, config.norm_epsilon, True)
        self.bias = nnx.Param(jnp.zeros(config.vocabulary))
        self.activation = config.activation

    def __call__(self, x_BPD: Array) -> Array:
        return self.norm(ACTIVATIONS[self.activation](self.transform(x_BPD)))
