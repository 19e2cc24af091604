"""Attention probabilities of every block, recorded in the model's own forward pass.

Shapes: B batch, L length, H heads, N depth.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.errors import UsageError
from research.models import BERT, GPT
from research.models.attention import recording
from research.models.transformer import unstack


def attention_probabilities(model: GPT | BERT, *inputs: Array) -> Array:
    """(N, B, H, L, L), float32, without dropout; `inputs` are those of `model.states`.

    They include the masks and score biases of the family and of the position scheme. Raises UsageError for a
    block of another package that does not call `attend` once.
    """
    blocks = model.blocks
    if not isinstance(blocks, tuple):
        model = jax.tree.map(lambda leaf: leaf, model)
        model.blocks = nnx.data(unstack(blocks, model.config.depth))
    with recording() as found:
        model.states(*inputs)
    if len(found) != model.config.depth:
        raise UsageError(f"model.block={model.config.block}: its attention has no probabilities to record")
    return jnp.stack(found)
