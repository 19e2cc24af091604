"""BERT's masked-token head."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.config import Model
from research.config.names import ACTIVATIONS
from research.models.axes import parameter
from research.models.linear import Initializer, Linear
from research.models.parts.activations import activation, is_gated
from research.models.parts.norms import norm
from research.models.transformer import GATE


class MaskedHead(nnx.Module):
    """The head before the model's output table; `bias` (V,) is added after the table."""

    def __init__(self, config: Model, init: Initializer, *, key: Array):
        width, precision = config.width, config.precision
        self.transform = Linear(width, (width,), init, True, key=key, precision=precision)
        gated = is_gated(ACTIVATIONS[config.activation])
        key_gate = jax.random.fold_in(key, GATE) if gated else None
        self.gate = Linear(width, (width,), init, True, key=key_gate, precision=precision) if gated else None
        self.norm = norm(config, bias=True)
        self.bias = parameter(jnp.zeros(config.vocabulary), None)
        self.activation, self.own = config.activation, config.own.activation

    def __call__(self, x_BPD: Array) -> Array:
        apply, y_BPD = activation(self.activation, self.own), self.transform(x_BPD)
        y_BPD = apply(y_BPD) if self.gate is None else apply(y_BPD, self.gate(x_BPD))
        return self.norm(y_BPD)
