"""Token-by-token sampling for a batch of prompts of any lengths.

Shapes: B batch, L length, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from research.generation.sampling_params import Sampling, row_keys, sample_tokens
from research.models.decoding import Cache, decode, decoder, empty
from research.models.gpt import GPT

PAD_MULTIPLE = 64  # lengths are rounded up to a multiple, so that few shapes are compiled


def sample(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    key: Array,
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
    rows: Sequence[int] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the next token of each prompt, int32 (B,), `tokens` times. A prompt has at least one token.

    The tokens of a row depend only on its prompt, the key and its number in `rows`, not on the other rows. A
    text that fills the context continues from its second half.
    """
    gpt = decoder(model)
    context, vocabulary = gpt.config.context, gpt.config.vocabulary
    texts = [[int(token) for token in prompt][-context:] for prompt in prompts]
    rows_B = np.arange(len(texts)) if rows is None else np.asarray(rows)
    seen_BV = tokens_in(prompts, vocabulary) if sampling.repetition_penalty != 1 else None
    cache = next_B = None
    for index in range(tokens):
        full = [row for row, text in enumerate(texts) if len(text) > context]
        for row in full:
            texts[row] = texts[row][-(context // 2) :]
        if cache is None or next_B is None or full:
            logits_BV, cache = prefill(gpt, texts, room=tokens - index)
        else:
            logits_BV, cache = step(gpt, next_B[:, None], cache)
        next_B = sample_tokens(logits_BV, row_keys(key, rows_B, index), seen_BV, sampling)
        if seen_BV is not None:
            seen_BV = seen_BV.at[jnp.arange(len(texts)), next_B].set(True)
        sampled = np.asarray(next_B)
        for text, token in zip(texts, sampled.tolist(), strict=True):
            text.append(token)
        yield sampled


def prefill(gpt: GPT, texts: Sequence[Sequence[int]], room: int) -> tuple[Array, Cache]:
    """Logits of the token after each text (B, V), and a cache with room for `room` more tokens.

    The cache never has more places than the context, rounded up.
    """
    longest, context = max(map(len, texts)), gpt.config.context
    length = min(round_up(longest), context)
    tokens_BL = np.zeros((len(texts), length), np.int32)
    for row, text in enumerate(texts):
        tokens_BL[row, length - len(text) :] = text
    padding_B = length - np.asarray([len(text) for text in texts])
    places = round_up(length + min(room, context - longest))
    return step(gpt, tokens_BL, empty(gpt.config, padding_B, places))


@partial(jax.jit, donate_argnames="cache")
def step(gpt: GPT, tokens_BL: Array, cache: Cache) -> tuple[Array, Cache]:
    """Logits of the token after the last token of each row (B, V), and the cache with `tokens_BL` added."""
    x_BLD, cache = decode(gpt, tokens_BL, cache)
    return gpt.logits(x_BLD[:, -1:])[:, 0], cache


def tokens_in(texts: Sequence[Sequence[int]], vocabulary: int) -> Array:
    """Which tokens each text contains: bool (B, V)."""
    seen = np.zeros((len(texts), vocabulary), bool)
    for row, text in enumerate(texts):
        seen[row, list(text)] = True
    return jnp.asarray(seen)


def round_up(length: int) -> int:
    """The next multiple of PAD_MULTIPLE."""
    return -(-length // PAD_MULTIPLE) * PAD_MULTIPLE
