"""Text from a GPT: one token at a time, with the keys and values of those before it kept.

Shapes: B batch, L length, V vocabulary.
"""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from research.models.gpt import GPT
from research.models.transformer import Cache


def sample(
    model: GPT, prompt_BL: Array, tokens: int, key: Array, temperature: float = 1.0, top_k: int | None = None
) -> Iterator[Array]:
    """Yields `tokens` times the next token of each row (B,), drawn at `temperature` among the `top_k`.

    A text that fills the context goes on from its latter half.
    """
    context = model.config.context
    seen = [np.asarray(prompt_BL)[:, -context:]]
    new_BL, filled = seen[0], context  # as if full: the first turn makes the cache
    for index in range(tokens):
        if filled + new_BL.shape[1] > context:
            if index:
                new_BL = np.concatenate(seen, axis=1)[:, -(context // 2) :]
            cache, filled = model.cache(len(new_BL), context), 0
        draw = jax.random.fold_in(key, index)
        filled += new_BL.shape[1]
        next_B, cache = _next_token(model, new_BL, cache, draw, jnp.float32(temperature), top_k)
        new_BL = next_B[:, None]
        seen.append(new_BL)
        yield next_B


@partial(jax.jit, static_argnames="top_k", donate_argnames="cache")
def _next_token(
    model: GPT, tokens_BL: Array, cache: Cache, key: Array, temperature: Array, top_k: int | None
) -> tuple[Array, Cache]:
    x_BLD, cache = model.decode(tokens_BL, cache)
    logits_BV = model.logits(x_BLD[:, -1:])[:, 0]
    if top_k is not None:
        least_B1 = jax.lax.top_k(logits_BV, min(top_k, logits_BV.shape[-1]))[0][:, -1:]
        logits_BV = jnp.where(logits_BV < least_B1, -jnp.inf, logits_BV)
    drawn_B = jax.random.categorical(key, logits_BV / jnp.maximum(temperature, 1e-6))
    return jnp.where(temperature > 0, drawn_B, logits_BV.argmax(-1)), cache
