"""Pseudo-log-likelihoods of a BERT: each token masked in turn, and predicted from both sides.

Salazar et al. (2020) mask one token. A token inside a word is then easy to guess from the rest of it, so Kauf
and Ivanova (2023) also mask the later tokens of its word, as the tokenizer splits words.

Shapes: B rows, L length, D width, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from research.data.tokenizers.tokenizer import SpecialTokens
from research.evaluation.scoring import rounded
from research.evaluation.surprisal.distributions import Measures, batches, measure
from research.models.bert import BERT


class Row(NamedTuple):
    ids: Sequence[int]
    words: Sequence[int | None]  # the word of each token, as the tokenizer splits words


def measures(model: BERT, texts: Sequence[Row], special: SpecialTokens, within_word: bool) -> list[Measures]:
    """The measures of each text's tokens.

    A text that is longer than the context is read in as many tokens around the masked one as fit.
    """
    targets = [(n, place) for n, text in enumerate(texts) for place in range(len(text.ids))]
    room = model.config.context - 2
    found = np.zeros((3, len(targets)))
    for indices, rows in batches([min(len(texts[n].ids), room) + 2 for n, _ in targets]):
        some = [targets[index] for index in indices]
        masked = [_masked(texts[n], place, room, special, within_word) for n, place in some]
        length = min(rounded(max(len(row) for row, _ in masked)), model.config.context)
        tokens_BL = np.full((rows, length), special.pad, np.int32)
        lengths_B, places_B, targets_B = (np.ones(rows, np.int32) for _ in range(3))
        for b, ((row, at), (n, place)) in enumerate(zip(masked, some, strict=True)):
            tokens_BL[b, : len(row)], lengths_B[b] = row, len(row)
            places_B[b], targets_B[b] = at, texts[n].ids[place]
        columns = jax.device_get(_predicted(model, tokens_BL, lengths_B, places_B, targets_B))
        found[:, indices] = [column[: len(indices), 0] for column in columns]
    ends = np.cumsum([len(text.ids) for text in texts])
    return [
        Measures(log_, entropies, ranks.astype(np.int64), np.zeros(0))
        for log_, entropies, ranks in np.split(found, ends[:-1], axis=1)
    ]


def _masked(
    text: Row, place: int, room: int, special: SpecialTokens, within_word: bool
) -> tuple[list[int], int]:
    """A row of ids with the token at `place` of the text masked, and its place in the row."""
    begin = max(min(place - room // 2, len(text.ids) - room), 0)
    row = [special.cls, *text.ids[begin : begin + room], special.sep]
    last = place + 1
    while within_word and last < len(text.ids) and text.words[last] == text.words[place]:
        last += 1
    for masked in range(place, min(last, begin + room)):
        row[masked - begin + 1] = special.mask
    return row, place - begin + 1


@jax.jit
def _predicted(model: BERT, tokens_BL, lengths_B, places_B, targets_B) -> tuple[Array, ...]:
    """The measures of the token at one place of each row, each (B, 1)."""
    x_BLD = model.features(tokens_BL, None, lengths_B)
    x_B1D = jnp.take_along_axis(x_BLD, places_B[:, None, None], axis=1)
    return measure(model.token_logits(x_B1D), targets_B[:, None], None, None)
