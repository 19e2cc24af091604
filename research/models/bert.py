"""BERT (Devlin et al., 2018), as in google-research/bert's modeling.py.

Shapes: B batch, L length, P masked positions, D width, V vocabulary, N depth.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.config import Model, scaling
from research.config.names import ACTIVATIONS, FAMILIES
from research.models.attention import AttentionMask
from research.models.axes import BOTH, parameter
from research.models.linear import Initializer, Linear, truncated_normal
from research.models.ops.dropout import dropout
from research.models.parts.activations import activation, is_gated
from research.models.parts.blocks import GATE
from research.models.parts.norms import norm
from research.models.parts.positions import positions, score_bias
from research.models.precision import compute_dtype
from research.models.sites import Edits, site, with_edits
from research.models.transformer import Blocks, run_blocks, stack

SEGMENTS = 2
OUTPUT = 7  # folded into the key for an untied output table


class MaskedHead(nnx.Module):
    """BERT's head for masked tokens, before the output table; `bias` (V,) is added after the table."""

    def __init__(self, config: Model, init: Initializer, *, key: Array):
        width, precision = config.width, config.precision
        linear = partial(Linear, width, (width,), init, True, precision=precision)
        self.transform = linear(key=key)
        gated = is_gated(ACTIVATIONS[config.activation])
        self.gate = linear(key=jax.random.fold_in(key, GATE)) if gated else None
        self.norm = norm(config, bias=True)
        self.bias = parameter(jnp.zeros(config.vocabulary), None)
        self.activation, self.own = config.activation, config.own.activation

    def __call__(self, x_BPD: Array) -> Array:
        apply, y_BPD = activation(self.activation, self.own), self.transform(x_BPD)
        y_BPD = apply(y_BPD) if self.gate is None else apply(y_BPD, self.gate(x_BPD))
        return self.norm(y_BPD)


@FAMILIES.register("bert")
class BERT(nnx.Module):
    """A bidirectional encoder with its two pre-training heads, or with a task head.

    With `left_only` it is the left-to-right model of Devlin et al. (2018), table 5.

    Calls take tokens, segments (0 or 1; None: all 0) and row lengths without padding (None: no padding).
    """

    bidirectional = True
    edits: Edits = ()  # of sites, applied in each forward pass
    scales = True
    norm_of = "embeddings"

    def __init__(self, config: Model, *, key: Array):
        keys = jax.random.split(key, 7)
        init, init_hidden = truncated_normal(0.02), truncated_normal(0.02 * scaling.kernel_deviation(config))
        self.multiplier = scaling.output_multiplier(config)
        head = partial(Linear, multiplier=self.multiplier)
        width, table = config.width, (config.vocabulary, config.width)
        self.tokens = parameter(init(keys[0], table), None, BOTH)
        self.positions = positions(config).init(init, keys[1])
        self.segments = parameter(init(keys[2], (SEGMENTS, width)), None, BOTH)
        self.norm = norm(config)
        self.blocks: Blocks = stack(config, init_hidden, init_hidden, key=keys[3])
        key_output = jax.random.fold_in(key, OUTPUT)
        self.output = None if config.tied else parameter(init(key_output, table), None, BOTH)
        tuned, outputs = config.head != "pretraining", (config.outputs,)
        pools = config.head != "tokens"
        self.pooler = Linear(width, (width,), init_hidden, True, key=keys[4]) if pools else None
        self.masked = None if tuned else MaskedHead(config, init_hidden, key=keys[5])
        self.next_sentence = None if tuned else head(width, (2,), init, True, key=keys[6])
        self.task_head = head(width, outputs, init, True, key=keys[5]) if tuned else None
        self.config = config

    def __call__(
        self,
        tokens_BL: Array,
        segments_BL: Array | None = None,
        lengths_B: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Array, Array]:
        """Logits of every position's token (B, L, V) and of the next sentence (B, 2): 0 if it follows."""
        x_BLD = self.features(tokens_BL, segments_BL, lengths_B, key)
        return self.token_logits(x_BLD), self.next_logits(x_BLD)

    def token_logits(self, x_BLD: Array) -> Array:
        """Maps final states to logits of the tokens at their positions (B, L, V), float32."""
        assert self.masked is not None  # model.head is pretraining
        y_BLD = self.masked(x_BLD)
        table_VD = self.output_table().astype(y_BLD.dtype)
        logits_BLV = jnp.einsum("BLD,VD->BLV", y_BLD, table_VD, preferred_element_type=jnp.float32)
        return logits_BLV + self.masked.bias[...]

    def features(
        self,
        tokens_BL: Array,
        segments_BL: Array | None = None,
        lengths_B: Array | None = None,
        key: Array | None = None,
    ) -> Array:
        """The final states (B, L, D); states of padding are arbitrary."""
        return self._forward(tokens_BL, segments_BL, lengths_B, key)[1]

    def states(
        self, tokens_BL: Array, segments_BL: Array | None = None, lengths_B: Array | None = None
    ) -> tuple[Array, ...]:
        """The input of every block, then the final state: N + 1 arrays (B, L, D)."""
        x_BLD, y_BLD, states = self._forward(tokens_BL, segments_BL, lengths_B, None)
        return (x_BLD, *states[:-1], y_BLD)

    def pooled(self, x_BLD: Array) -> Array:
        """The first position's state, transformed: the summary of a sequence (B, D)."""
        assert self.pooler is not None  # model.head is not tokens
        return jnp.tanh(self.pooler(x_BLD[:, 0]))

    def summary(self, x_BLD: Array, lengths_B: Array) -> Array:
        """The summary of a sequence (B, D): `pooled`; with `left_only`, from the last position."""
        if not self.config.left_only:
            return self.pooled(x_BLD)
        last_B11 = (lengths_B - 1)[:, None, None]
        return self.pooled(jnp.take_along_axis(x_BLD, last_B11, axis=1))

    def next_logits(self, x_BLD: Array) -> Array:
        assert self.next_sentence is not None  # model.head is pretraining
        return self.next_sentence(self.pooled(x_BLD)).astype(jnp.float32)

    def output_table(self) -> Array:
        """The output rows (V, D) of the masked-token head."""
        rows_VD = (self.tokens if self.output is None else self.output)[...]
        return rows_VD if self.multiplier == 1 else self.multiplier * rows_VD

    @with_edits
    def _forward(self, tokens_BL, segments_BL, lengths_B, key):
        """The embeddings, the final states, and the states after each block."""
        config, scheme = self.config, positions(self.config)
        key_embed, key_blocks = (None, None) if key is None else jax.random.split(key)
        segments_BL = jnp.zeros_like(tokens_BL) if segments_BL is None else segments_BL
        x_BLD = scheme.embed(self.positions, self.tokens[...][tokens_BL], None)
        x_BLD = self.norm(x_BLD + self.segments[...][segments_BL]).astype(compute_dtype(config.precision))
        x_BLD = site("embeddings", dropout(x_BLD, config.dropout, key_embed, config.dropout_generator))
        length = tokens_BL.shape[1]
        bias = score_bias(scheme, self.positions, None, length, length, None)
        mask = AttentionMask(causal=config.left_only, lengths_B=lengths_B, bias=bias)
        rotate = scheme.rotation(self.positions, None, length)
        y_BLD, states, _ = run_blocks(self.blocks, config, x_BLD, mask, rotate, key_blocks)
        return x_BLD, site("final", y_BLD), states
