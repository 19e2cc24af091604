"""GPT-1 (Radford et al., 2018) and GPT-2 (Radford et al., 2019).

Shapes: B batch, L length, D width, V vocabulary, N depth.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.config import Model, scaling
from research.config.names import FAMILIES
from research.models.attention import AttentionMask
from research.models.axes import BOTH, parameter, split_features
from research.models.linear import Linear, normal
from research.models.ops.dropout import dropout
from research.models.parts.norms import norm
from research.models.parts.positions import positions, score_bias
from research.models.precision import compute_dtype
from research.models.sites import Edits, site, with_edits
from research.models.transformer import Blocks, run_blocks, stack

SPECIAL_EMBEDDINGS = 3  # start, delimiter, classify: tokens that fine-tuning adds after the vocabulary
OUTPUT = 4  # folded into the key for an untied output table


class Forward(NamedTuple):
    """Results of a forward pass."""

    embedded_BLD: Array  # the first block's input
    states: Array | tuple[Array, ...]  # after each block
    final_BLD: Array  # the last block's output, normalized
    caches: tuple[Any, ...] | None  # grown by L positions


class GPT(nnx.Module):
    """A decoder-only transformer. With `norm=pre` a norm follows the last block."""

    bidirectional = False
    scales = True
    norm_of = "states"  # the norm outside of blocks
    edits: Edits = ()  # of sites, applied in each forward pass
    scaled_residuals = False  # whether residual branches are initialised smaller with depth

    def __init__(self, config: Model, *, key: Array):
        key_tokens, key_positions, key_blocks = jax.random.split(key, 3)
        init, deviation = normal(0.02), 0.02 * scaling.kernel_deviation(config)
        # Each block adds two branches to the stream; this makes the variance of their sum independent of
        # depth.
        residual = (2 * config.depth) ** -0.5 if self.scaled_residuals else 1.0
        table = config.vocabulary, config.width
        self.tokens = parameter(init(key_tokens, table), None, BOTH)
        self.positions = positions(config).init(init, key_positions)
        self.blocks: Blocks = stack(config, normal(deviation), normal(deviation * residual), key=key_blocks)
        self.norm = norm(config) if config.norm == "pre" else None
        key_output = jax.random.fold_in(key, OUTPUT)
        self.output = None if config.tied else parameter(init(key_output, table), None, BOTH)
        # The only new parameters in fine-tuning: three rows and W_y, with a bias only in the paper's code.
        tuned = config.head != "pretraining"
        marked = tuned and config.special_tokens
        key_special, key_head = jax.random.split(jax.random.fold_in(key, SPECIAL_EMBEDDINGS))
        special = SPECIAL_EMBEDDINGS, config.width
        self.special_embeddings = parameter(init(key_special, special), None, BOTH) if marked else None
        outputs, self.multiplier = (config.outputs,), scaling.output_multiplier(config)
        self.task_head = (
            Linear(config.width, outputs, init, config.head_bias, key=key_head, multiplier=self.multiplier)
            if tuned
            else None
        )
        self.config = config

    def __call__(self, tokens_BL: Array, key: Array | None = None) -> Array:
        """Logits (B, L, V), float32; position l attends to tokens 0 to l."""
        return self.logits(self.features(tokens_BL, key))

    def features(
        self, tokens_BL: Array, key: Array | None = None, documents_BL: Array | None = None
    ) -> Array:
        """The final states (B, L, D); with `documents_BL`, attention stays within documents.

        Positions do not restart at documents.
        """
        mask = AttentionMask(causal=True, documents_BL=documents_BL)
        return self.forward(tokens_BL, mask, key=key).final_BLD

    def states(self, tokens_BL: Array) -> tuple[Array, ...]:
        """The input of every block, then the final state: N + 1 arrays (B, L, D)."""
        found = self.forward(tokens_BL, AttentionMask(causal=True))
        return (found.embedded_BLD, *found.states[:-1], found.final_BLD)

    @with_edits
    def forward(
        self,
        tokens_BL: Array,
        attention_mask: AttentionMask,
        *,
        places_BL: Array | None = None,
        key: Array | None = None,
        caches: tuple[Any, ...] | None = None,
        places: int | None = None,
    ) -> Forward:
        """The forward pass of training and decoding; `places_BL` are the tokens' positions, None: from 0.

        Caches, with room for `places` keys, need blocks that are a tuple; see `research.models.decoding`.
        """
        config, scheme = self.config, positions(self.config)
        key_embed, key_blocks = (None, None) if key is None else jax.random.split(key)
        x_BLD = scheme.embed(self.positions, self.table()[tokens_BL], places_BL)
        rate = 0.0 if config.table_dropout else config.dropout  # the table's: `table_dropout`
        x_BLD = split_features(x_BLD.astype(compute_dtype(config.precision)))
        x_BLD = site("embeddings", dropout(x_BLD, rate, key_embed, config.dropout_generator))
        length = tokens_BL.shape[1]
        keys = length if places is None else places
        bias = score_bias(scheme, self.positions, places_BL, length, keys, attention_mask.padding_B)
        attention_mask = attention_mask._replace(bias=bias)
        rotate = scheme.rotation(self.positions, places_BL, length)
        y_BLD, states, caches = run_blocks(
            self.blocks, config, x_BLD, attention_mask, rotate, key_blocks, caches, places
        )
        y_BLD = site("final", y_BLD if self.norm is None else self.norm(y_BLD))
        return Forward(x_BLD, states, y_BLD, caches)

    def logits(self, x_BLD: Array) -> Array:
        """Maps final states to logits (B, L, V), float32."""
        table_VD = self.multiplied((self.tokens if self.output is None else self.output)[...])
        table_VD = table_VD.astype(x_BLD.dtype)
        return jnp.einsum("BLD,VD->BLV", x_BLD, table_VD, preferred_element_type=jnp.float32)

    def table(self) -> Array:
        """The embeddings of all tokens; fine-tuning adds special ones after the vocabulary."""
        return self._with_special(self.tokens[...])

    def output_table(self) -> Array:
        """The output rows of the tokens in `table`. Those of special tokens are always tied."""
        return self.multiplied(self._with_special((self.tokens if self.output is None else self.output)[...]))

    def summary(self, x_BLD: Array, lengths_B: Array) -> Array:
        """The summary of a sequence (B, D): the state of its last token."""
        return jnp.take_along_axis(x_BLD, (lengths_B - 1)[:, None, None], axis=1)[:, 0]

    def multiplied(self, rows_VD: Array) -> Array:
        """`rows_VD` as output rows: times the multiplier of `model.scaling`."""
        return rows_VD if self.multiplier == 1 else self.multiplier * rows_VD

    def _with_special(self, table_VD: Array) -> Array:
        if self.special_embeddings is None:
            return table_VD
        return jnp.concatenate([table_VD, self.special_embeddings[...]])


@FAMILIES.register("gpt1")
class GPT1(GPT):
    """Radford et al. (2018), published with `norm=post`."""


@FAMILIES.register("gpt2")
class GPT2(GPT):
    """Radford et al. (2019), published with `norm=pre`: residual branches start smaller."""

    scaled_residuals = True
