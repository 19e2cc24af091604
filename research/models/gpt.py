"""GPT-1 (Radford et al., 2018) and GPT-2 (Radford et al., 2019).

Shapes: B batch, L length, S source length, D width, V vocabulary, N depth, H heads, K head size.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from research.config import Model
from research.models.attention import Visible
from research.models.precision import compute_dtype
from research.models.primitives import dropout
from research.models.transformer import Cache, LayerNorm, normal, run_stack, stack


class GPT(nnx.Module):
    """A decoder with learned positions and an output tied to the token table.

    GPT-2 normalizes before each branch and once at the end, and starts its residual branches smaller.
    """

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
        self.config = config

    def __call__(self, tokens_BL: Array, key: Array | None = None) -> Array:
        """Logits (B, L, V), float32; position l has seen the tokens up to l."""
        return self.logits(self.features(tokens_BL, key))

    def features(self, tokens_BL: Array, key: Array | None = None) -> Array:
        """The final states (B, L, D)."""
        return self.decode(tokens_BL, None, key)[0]

    def states(self, tokens_BL: Array) -> tuple[Array, ...]:
        """Every block's input and, last, the final state: N + 1 of (B, L, D)."""
        x_BLD = self._embed(tokens_BL, None, None)
        y_BLD, _, states = run_stack(self.blocks, self.config, x_BLD, Visible(causal=True))
        return (x_BLD, *states[:-1], self._finish(y_BLD))

    def decode(
        self, tokens_BL: Array, cache: Cache | None, key: Array | None = None
    ) -> tuple[Array, Cache | None]:
        """The final states (B, L, D) of tokens that follow those in `cache`, and the cache grown by them."""
        key_embed, key_blocks = (None, None) if key is None else jax.random.split(key)
        start = None if cache is None else cache.position
        x_BLD = self._embed(tokens_BL, key_embed, start)
        visible = Visible(causal=True, start=start)
        x_BLD, cache, _ = run_stack(self.blocks, self.config, x_BLD, visible, key_blocks, cache)
        return self._finish(x_BLD), cache

    def logits(self, x_BLD: Array) -> Array:
        table_VD = self.tokens[...].astype(x_BLD.dtype)
        return jnp.einsum("BLD,VD->BLV", x_BLD, table_VD, preferred_element_type=jnp.float32)

    def cache(self, batch: int, length: int) -> Cache:
        """An empty cache for `length` positions."""
        c = self.config
        shape = (c.depth, batch, length, c.heads, c.width // c.heads)
        dtype = compute_dtype(c.precision)
        return Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.int32(0))

    def _embed(self, tokens_BL: Array, key: Array | None, start: Array | None) -> Array:
        positions_LD = (
            self.positions[...][: tokens_BL.shape[1]]
            if start is None
            else (jax.lax.dynamic_slice_in_dim(self.positions[...], start, tokens_BL.shape[1]))
        )
        x_BLD = self.tokens[...][tokens_BL] + positions_LD
        return dropout(x_BLD.astype(compute_dtype(self.config.precision)), self.config.dropout, key)

    def _finish(self, x_BLD: Array) -> Array:
        return x_BLD if self.norm is None else self.norm(x_BLD)
