"""GPT-1 (Radford et al., 2018) and GPT-2 (Radford et al., 2019).

Shapes: B batch, L length, D width, V vocabulary, N depth.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.config import Model
from research.models.attention import AttentionMask
from research.models.ops.dropout import dropout
from research.models.precision import compute_dtype
from research.models.transformer import LayerNorm, Linear, normal, run_stack, stack

SPECIAL_EMBEDDINGS = 3  # start, delimiter, classify: tokens that fine-tuning adds after the vocabulary


class GPT(nnx.Module):
    """A decoder with learned positions and an output tied to the token table.

    GPT-2 normalizes before each branch and once at the end, and starts its residual branches smaller.
    """

    bidirectional = False

    def __init__(self, config: Model, *, key: Array):
        key_tokens, key_positions, key_blocks = jax.random.split(key, 3)
        init = normal(0.02)
        # Each block adds two branches to the stream; so scaled, their sum keeps a variance free of depth.
        init_output = normal(0.02 * (2 * config.depth) ** -0.5) if config.family == "gpt2" else init
        self.tokens = nnx.Param(init(key_tokens, (config.vocabulary, config.width)))
        self.positions = nnx.Param(init(key_positions, (config.context, config.width)))
        self.blocks = stack(config, init, init_output, key=key_blocks)
        pre = config.norm == "pre"
        self.norm = LayerNorm(config.width, config.norm_epsilon, config.bias) if pre else None
        # All that is new in fine-tuning: three rows and W_y, which the paper has without a bias.
        tuned = config.head != "pretraining"
        key_special, key_head = jax.random.split(jax.random.fold_in(key, SPECIAL_EMBEDDINGS))
        outputs = (config.outputs,)
        self.special_embeddings = (
            nnx.Param(init(key_special, (SPECIAL_EMBEDDINGS, config.width))) if tuned else None
        )
        self.task_head = Linear(config.width, outputs, init, False, key=key_head) if tuned else None
        self.config = config

    def __call__(self, tokens_BL: Array, key: Array | None = None) -> Array:
        """Logits (B, L, V), float32; position l has seen the tokens up to l."""
        return self.logits(self.features(tokens_BL, key))

    def features(
        self, tokens_BL: Array, key: Array | None = None, documents_BL: Array | None = None
    ) -> Array:
        """The final states (B, L, D); with `documents_BL`, each has seen its own document alone.

        Positions go on through the row all the same, as they do where attention does.
        """
        key_embed, key_blocks = (None, None) if key is None else jax.random.split(key)
        x_BLD = self._embed(tokens_BL, key_embed)
        attention_mask = AttentionMask(causal=True, documents_BL=documents_BL)
        x_BLD, _ = run_stack(self.blocks, self.config, x_BLD, attention_mask, key_blocks)
        return self._finish(x_BLD)

    def states(self, tokens_BL: Array) -> tuple[Array, ...]:
        """Every block's input and, last, the final state: N + 1 of (B, L, D)."""
        x_BLD = self._embed(tokens_BL, None)
        y_BLD, states = run_stack(self.blocks, self.config, x_BLD, AttentionMask(causal=True))
        return (x_BLD, *states[:-1], self._finish(y_BLD))

    def logits(self, x_BLD: Array) -> Array:
        table_VD = self.tokens[...].astype(x_BLD.dtype)
        return jnp.einsum("BLD,VD->BLV", x_BLD, table_VD, preferred_element_type=jnp.float32)

    def table(self) -> Array:
        """The tokens' rows and, in fine-tuning, those of the marks after them."""
        if self.special_embeddings is None:
            return self.tokens[...]
        return jnp.concatenate([self.tokens[...], self.special_embeddings[...]])

    def summary(self, x_BLD: Array, lengths_B: Array) -> Array:
        """What stands for the whole sequence (B, D): its last token's state."""
        return jnp.take_along_axis(x_BLD, (lengths_B - 1)[:, None, None], axis=1)[:, 0]

    def _embed(self, tokens_BL: Array, key: Array | None) -> Array:
        x_BLD = self.table()[tokens_BL] + self.positions[...][: tokens_BL.shape[1]]
        return dropout(x_BLD.astype(compute_dtype(self.config.precision)), self.config.dropout, key)

    def _finish(self, x_BLD: Array) -> Array:
        return x_BLD if self.norm is None else self.norm(x_BLD)
