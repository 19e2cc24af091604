"""Token after token, for a batch of prompts of any lengths.

Shapes: B batch, L length, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from research.generation.sampling_params import Sampling, choose, row_keys
from research.models.decoding import Cache, Decoder, decode, decoder, empty, logits
from research.models.gpt import GPT

GRAIN = 64  # lengths are rounded up to its multiples, so that few of them are compiled


def sample(
    model: GPT | Decoder,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    key: Array,
    how: Sampling = Sampling(),  # noqa: B008 (frozen)
    rows: Sequence[int] | None = None,
) -> Iterator[np.ndarray]:
    """Yields `tokens` times the next token of each prompt (B,), int32; a prompt has one token or more.

    A row's tokens depend on its prompt, the key and its number in `rows` alone, not on its neighbours. A text
    that fills the context goes on from its latter half.
    """
    parts = model if isinstance(model, Decoder) else decoder(model)
    context, vocabulary = parts.config.context, parts.config.vocabulary
    texts = [[int(token) for token in prompt][-context:] for prompt in prompts]
    rows_B = np.arange(len(texts)) if rows is None else np.asarray(rows)
    seen_BV = occurring(prompts, vocabulary) if how.repetition_penalty != 1 else None
    cache = next_B = None
    for index in range(tokens):
        full = [row for row, text in enumerate(texts) if len(text) > context]
        for row in full:
            texts[row] = texts[row][-(context // 2) :]
        if cache is None or full:
            logits_BV, cache = read(parts, texts, room=tokens - index)
        else:
            logits_BV, cache = step(parts, next_B[:, None], cache)
        next_B = choose(logits_BV, row_keys(key, rows_B, index), seen_BV, how)
        if seen_BV is not None:
            seen_BV = seen_BV.at[jnp.arange(len(texts)), next_B].set(True)
        chosen = np.asarray(next_B)
        for text, token in zip(texts, chosen.tolist(), strict=True):
            text.append(token)
        yield chosen


def read(parts: Decoder, texts: Sequence[Sequence[int]], room: int) -> tuple[Array, Cache]:
    """Logits of what follows each text (B, V), and a cache with room for so many tokens more, if they fit."""
    longest, context = max(map(len, texts)), parts.config.context
    length = min(rounded(longest), context)
    tokens_BL = np.zeros((len(texts), length), np.int32)
    for row, text in enumerate(texts):
        tokens_BL[row, length - len(text) :] = text
    padding_B = length - np.asarray([len(text) for text in texts])
    places = rounded(length + min(room, context - longest))
    return step(parts, tokens_BL, empty(parts.config, padding_B, places))


@partial(jax.jit, donate_argnames="cache")
def step(parts: Decoder, tokens_BL: Array, cache: Cache) -> tuple[Array, Cache]:
    """Logits of what follows the last token of each row (B, V), and the cache grown."""
    x_BLD, cache = decode(parts, tokens_BL, cache)
    return logits(parts, x_BLD[:, -1:])[:, 0], cache


def occurring(texts: Sequence[Sequence[int]], vocabulary: int) -> Array:
    """Whether each token is in each text: boolean (B, V)."""
    seen = np.zeros((len(texts), vocabulary), bool)
    for row, text in enumerate(texts):
        seen[row, list(text)] = True
    return jnp.asarray(seen)


def rounded(length: int) -> int:
    return -(-length // GRAIN) * GRAIN
