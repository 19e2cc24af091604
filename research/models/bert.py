"""BERT (Devlin et al., 2018), as in google-research/bert's modeling.py.

Shapes: B batch, L length, P masked positions, D width, V vocabulary, N depth, K answers.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.config import Model
from research.models.attention import AttentionMask
from research.models.heads import MaskedHead
from research.models.ops.dropout import dropout
from research.models.precision import compute_dtype
from research.models.transformer import (
    LayerNorm,
    Linear,
    run_stack,
    stack,
    truncated_normal,
)

SEGMENTS = 2


class BERT(nnx.Module):
    """An encoder that sees both ways, with the two heads it is pre-trained with, or one for a task.

    Calls take tokens, segments (0 or 1) and the rows' lengths, padding not counted; None is segment 0
    throughout, and no padding.
    """

    bidirectional = True

    def __init__(self, config: Model, *, key: Array):
        keys = jax.random.split(key, 7)
        init = truncated_normal(0.02)
        width = config.width
        self.tokens = nnx.Param(init(keys[0], (config.vocabulary, width)))
        self.positions = nnx.Param(init(keys[1], (config.context, width)))
        self.segments = nnx.Param(init(keys[2], (SEGMENTS, width)))
        self.norm = LayerNorm(width, config.norm_epsilon, config.bias)
        self.blocks = stack(config, init, init, key=keys[3])
        tuned, outputs = config.head != "pretraining", (config.outputs,)
        pools = config.head != "tokens"
        self.pooler = Linear(width, (width,), init, True, key=keys[4]) if pools else None
        self.masked = None if tuned else MaskedHead(config, init, key=keys[5])
        self.next_sentence = None if tuned else Linear(width, (2,), init, True, key=keys[6])
        self.task_head = Linear(width, outputs, init, True, key=keys[5]) if tuned else None
        self.config = config

    def __call__(
        self,
        tokens_BL: Array,
        segments_BL: Array | None = None,
        lengths_B: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """Logits of every position's token (B, L, V) and of the next sentence (B, 2), 0 if it follows."""
        x_BLD = self.features(tokens_BL, segments_BL, lengths_B, key)
        y_BLD = self.masked(x_BLD)
        table_VD = self.tokens[...].astype(y_BLD.dtype)
        logits_BLV = jnp.einsum("BLD,VD->BLV", y_BLD, table_VD, preferred_element_type=jnp.float32)
        return logits_BLV + self.masked.bias[...], self.next_logits(x_BLD)

    def features(
        self,
        tokens_BL: Array,
        segments_BL: Array | None = None,
        lengths_B: Array | None = None,
        key: Array | None = None,
    ) -> Array:
        """The final states (B, L, D); those of padding mean nothing."""
        return self._run(tokens_BL, segments_BL, lengths_B, key)[1]

    def states(
        self, tokens_BL: Array, segments_BL: Array | None = None, lengths_B: Array | None = None
    ) -> tuple[Array, ...]:
        """Every block's input and, last, the final state: N + 1 of (B, L, D)."""
        x_BLD, _, states = self._run(tokens_BL, segments_BL, lengths_B, None)
        return (x_BLD, *states)

    def pooled(self, x_BLD: Array) -> Array:
        """What stands for the whole sequence (B, D): the first position's state, transformed."""
        return jnp.tanh(self.pooler(x_BLD[:, 0]))

    def summary(self, x_BLD: Array, lengths_B: Array) -> Array:
        """What stands for the whole sequence (B, D), whatever its length."""
        return self.pooled(x_BLD)

    def next_logits(self, x_BLD: Array) -> Array:
        return self.next_sentence(self.pooled(x_BLD)).astype(jnp.float32)

    def _run(self, tokens_BL, segments_BL, lengths_B, key):
        key_embed, key_blocks = (None, None) if key is None else jax.random.split(key)
        L = tokens_BL.shape[1]
        segments_BLD = self.segments[...][jnp.zeros_like(tokens_BL) if segments_BL is None else segments_BL]
        x_BLD = self.tokens[...][tokens_BL] + self.positions[...][:L] + segments_BLD
        x_BLD = self.norm(x_BLD).astype(compute_dtype(self.config.precision))
        x_BLD = dropout(x_BLD, self.config.dropout, key_embed)
        attention_mask = AttentionMask(causal=False, lengths_B=lengths_B)
        y_BLD, states = run_stack(self.blocks, self.config, x_BLD, attention_mask, key_blocks)
        return x_BLD, y_BLD, states
