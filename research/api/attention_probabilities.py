"""Attention probabilities of every block, computed by the model's own queries and keys.

Shapes: B batch, L queries, S keys, H heads, K head size, D width, N depth.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from research.models import BERT, GPT
from research.models.attention import AttentionMask
from research.models.ops.attention import NEGATIVE
from research.models.parts.positions import positions
from research.models.transformer import Block


def attention_probabilities(model: GPT | BERT, states: tuple[Array, ...], lengths_B: Array) -> Array:
    """(N, B, H, L, S), float32, without dropout; `states` are `model.states` of the same tokens.

    Each block's attention runs on the block's input with a function that keeps the softmax instead of
    applying it, so rotary positions and query/key norms are those of the model.
    """
    length, causal = states[0].shape[1], model.config.left_only or not model.bidirectional
    attention_mask = AttentionMask(causal=causal, lengths_B=lengths_B)
    mask = attention_mask.mask(length, length)
    rotate = positions(model.config).rotation(model.positions, None, length)

    def of_block(layer: tuple[Block, Array]) -> Array:
        block, x_BLD = layer
        kept = []

        def attend(q: Array, k: Array, v: Array, dropout_mask: Array | None) -> Array:
            scores = jnp.einsum("BLHK,BSHK->BHLS", q, k, preferred_element_type=jnp.float32)
            scores = scores / math.sqrt(q.shape[-1])
            kept.append(jax.nn.softmax(jnp.where(mask, scores, NEGATIVE), axis=-1))
            return v  # of the right shape; the result is not used

        inputs = block.attention_norm(x_BLD) if block.norm_first else x_BLD
        block.attention(inputs, attend, rotate, None, None)
        return kept[0]

    return jax.lax.map(of_block, (model.blocks, jnp.stack(states[:-1])))
