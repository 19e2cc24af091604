"""Hidden states, or what other sites hold, as features of tokens or words (Devlin et al., 2018, section 5.3).

Shapes: B texts, L length of the longest, K layers, D width.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from tokenizers import Tokenizer

from research.api.activations import site_shapes
from research.api.inputs import Inputs, arguments
from research.api.language_model import LanguageModel
from research.data.finetuning.inputs import cut_longer
from research.data.tokenizers import tokenizer as tokenizers
from research.errors import UsageError
from research.models import BERT, GPT
from research.models.sites import check, matches, observed

Words = Literal["none", "first", "mean"]
Layer = int | str  # counted as by `LanguageModel.hidden_states`, or the name of a site


class Row(NamedTuple):
    """A text or a pair of texts as a model reads it."""

    ids: np.ndarray  # int32 (L,)
    segments: np.ndarray  # int32 (L,): 1 for the second text
    words: np.ndarray  # int32 (L,): the word of each token, -1 for special tokens
    names: list[str]  # (L,): pieces
    cut: bool  # to the length asked for


class Features(NamedTuple):
    """The states of one text."""

    names: list[str]  # pieces, or words
    ids: np.ndarray  # int32, of tokens, or of words' first tokens
    words: np.ndarray  # int32
    states: np.ndarray  # float32 (tokens or words, K, D)


def layers_of(model: LanguageModel, given: Sequence[Layer]) -> tuple[list[Layer], int]:
    """The layers, with patterns of sites replaced by names, and their width D.

    Raises UsageError for one that the model does not have, for a site without a row per token, and for sites
    of different widths.
    """
    depth, shapes, longer = model.config.depth, *(site_shapes(model.module, length) for length in (1, 2))
    layers, widths = [], set()
    for layer in given:
        if isinstance(layer, int):
            if not -depth - 1 <= layer <= depth:
                raise UsageError(
                    f"--layers {layer}: expected from {-depth - 1} to {depth}; 0 is the first block's input, "
                    "-1 the final state"
                )
            layers.append(layer)
            widths.add(model.config.width)
            continue
        check([layer], shapes)
        for name in [name for name in shapes if matches(name, layer)]:
            if longer[name] != (1, 2, *shapes[name][2:]):
                raise UsageError(f"--layers {name}: expected a site with features of each token")
            layers.append(name)
            widths.add(math.prod(shapes[name]))
    if len(widths) != 1:
        raise UsageError(f"--layers: expected one width, not {' and '.join(map(str, sorted(widths)))}")
    return layers, widths.pop()


def encode(model: LanguageModel, texts: Sequence[str], length: int) -> Row:
    """One text, or a pair for a BERT, cut to `length` tokens: of a pair the longer text, as run_classifier.

    Raises UsageError for a pair for a GPT, and for a text that the tokenizer cannot encode.
    """
    tokenizer = _tokenizer(model)
    if len(texts) > 1 and not model.module.bidirectional:
        raise UsageError("a pair of texts: a GPT reads one; expected one text")
    parts = [tokenizers.encode(tokenizer, text) for text in texts]
    special = tokenizers.special_tokens(tokenizer) if model.module.bidirectional else None
    room = length - (len(texts) + 1 if special else 0)
    if room < len(texts):
        raise UsageError(f"--length {length}: expected more, for a token of each text")
    sizes = [len(part.ids) for part in parts]
    kept = [min(sizes[0], room)] if len(parts) == 1 else cut_longer(sizes[0], sizes[1], room)
    ids, segments, words, first = [], [], [], 0
    if special:
        ids, segments, words = [special.cls], [0], [-1]
    for which, (part, size) in enumerate(zip(parts, kept, strict=True)):
        ids += part.ids[:size]
        words += [-1 if word is None else first + word for word in part.word_ids[:size]]
        first = max(words, default=-1) + 1
        if special:
            ids.append(special.sep)
            words.append(-1)
        segments += [which] * (len(ids) - len(segments))
    names = [str(tokenizer.id_to_token(index)) for index in ids]
    ids, segments, words = (np.asarray(column, np.int32) for column in (ids, segments, words))
    return Row(ids, segments, words, names, sum(kept) < sum(sizes))


def features(
    model: LanguageModel, rows: Sequence[Row], layers: Sequence[Layer], words: Words = "none", batch: int = 8
) -> Iterator[Features]:
    """The states of each row in `layers`, in order.

    `words`: of every token, of every word's first piece, or the mean of its pieces; special tokens are no
    words. Raises UsageError as `layers_of`.
    """
    layers, _ = layers_of(model, layers)
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        lengths = [len(row.ids) for row in some]
        states_BLKD = _states_of(model, some, lengths, tuple(layers), batch)
        for row, length, states_LKD in zip(some, lengths, states_BLKD, strict=False):
            yield _pooled(row, states_LKD[:length], words)


def _states_of(model, rows: Sequence[Row], lengths: list[int], layers: tuple[Layer, ...], batch: int):
    """(B, L, K, D) of a batch that is filled up, so that few shapes are compiled."""
    tokens_BL, segments_BL = (np.zeros((batch, max(max(lengths), 1)), np.int32) for _ in range(2))
    lengths_B = np.ones(batch, np.int32)
    for n, row in enumerate(rows):
        tokens_BL[n, : lengths[n]], segments_BL[n, : lengths[n]] = row.ids, row.segments
        lengths_B[n] = max(lengths[n], 1)
    inputs = Inputs(tokens_BL, segments_BL, lengths_B).padded(model.config.context)
    return jax.device_get(_chosen_states(model.module, inputs, layers))


@partial(jax.jit, static_argnames="layers")
def _chosen_states(module: GPT | BERT, inputs: Inputs, layers: tuple[Layer, ...]) -> Array:
    names = [layer for layer in layers if isinstance(layer, str)]
    run = observed(module.states, names) if names else lambda *inputs: (module.states(*inputs), {})
    states, found = run(*arguments(module, inputs))
    chosen = [found[layer] if isinstance(layer, str) else states[layer] for layer in layers]
    return jnp.stack([x.astype(jnp.float32).reshape(*x.shape[:2], -1) for x in chosen], axis=2)


def _pooled(row: Row, states_LKD: np.ndarray, words: Words) -> Features:
    if words == "none":
        return Features(row.names, row.ids, row.words, states_LKD)
    found, firsts, counts = np.unique(row.words, return_index=True, return_counts=True)
    real = found >= 0
    found, firsts, counts = found[real], firsts[real], counts[real]
    spans = [slice(first, first + count) for first, count in zip(firsts, counts, strict=True)]
    states = states_LKD[firsts]
    if words == "mean":
        for n, span in enumerate(spans):
            states[n] = states_LKD[span].mean(0)
    return Features([_word(row.names[span]) for span in spans], row.ids[firsts], found, states)


def _word(pieces: list[str]) -> str:
    return pieces[0] + "".join(piece.removeprefix("##") for piece in pieces[1:])


def _tokenizer(model: LanguageModel) -> Tokenizer:
    if model.tokenizer is None:
        raise UsageError("no tokenizer beside the weights; pass --tokenizer NAME|PATH")
    return model.tokenizer
