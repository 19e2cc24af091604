"""BERT's masks: the positions to predict and the tokens the model sees there.

Devlin et al. (2018), appendix A.1.

Shapes: B rows, L length, P maximum number of predictions.
"""

from typing import NamedTuple

import numpy as np

from research.config import Masking
from research.data.pretraining.counter_rng import bits, uniform
from research.data.tokenizers.tokenizer import SpecialTokens

ORDER, ACTION, REPLACEMENT = range(3)  # the decision that a random number makes


class Masked(NamedTuple):
    tokens: np.ndarray  # int32 (B, L): the model's input
    positions: np.ndarray  # int32 (B, P): ascending, then zeros
    targets: np.ndarray  # int32 (B, P): the original tokens
    weights: np.ndarray  # float32 (B, P): 1, then zeros


def mask(
    tokens_BL: np.ndarray,
    lengths_B: np.ndarray,
    seeds_B: np.ndarray,
    masking: Masking,
    special_tokens: SpecialTokens,
) -> Masked:
    """Select positions and replace a share `mask` of their tokens by [MASK], and `random` by random tokens.

    The random numbers of a row depend only on its uint64 in `seeds_B`. [CLS], [SEP] and padding are never
    selected.
    """
    selected_BL = select(tokens_BL, lengths_B, seeds_B, masking, special_tokens)
    rows, lanes = np.nonzero(selected_BL)
    action, replacement = (bits(seeds_B[rows], kind, lanes) for kind in (ACTION, REPLACEMENT))
    action, original = uniform(action), tokens_BL[rows, lanes]
    seen = np.where(
        action < masking.mask,
        special_tokens.mask,
        np.where(action < 1 - masking.random, original, replacement % np.uint64(special_tokens.entries)),
    )
    tokens_BL = tokens_BL.copy()
    tokens_BL[rows, lanes] = seen

    # The nth selected position of a row goes to column n.
    nth = (np.cumsum(selected_BL, axis=1) - 1)[rows, lanes]
    shape = (len(tokens_BL), masking.predictions)
    positions, targets, weights = (np.zeros(shape, dtype) for dtype in (np.int32, np.int32, np.float32))
    positions[rows, nth], targets[rows, nth], weights[rows, nth] = lanes, original, 1
    return Masked(tokens_BL, positions, targets, weights)


def select(
    tokens_BL: np.ndarray,
    lengths_B: np.ndarray,
    seeds_B: np.ndarray,
    masking: Masking,
    special_tokens: SpecialTokens,
) -> np.ndarray:
    """Positions to predict: bool (B, L). Takes words in random order until it has enough, as published.

    Enough is `share` of the row's length, rounded, at least 1. A word is one token; with `whole_words` it is
    all pieces of the word, and a word with too many pieces is skipped.
    """
    length = tokens_BL.shape[1]
    candidate_BL = (
        (tokens_BL != special_tokens.cls)
        & (tokens_BL != special_tokens.sep)
        & (np.arange(length) < lengths_B[:, None])
    )
    number_B = np.clip(np.rint(lengths_B * masking.share).astype(np.int64), 1, masking.predictions)
    starts_BL = candidate_BL & ~special_tokens.continues[tokens_BL] if masking.whole_words else candidate_BL
    # The first candidate starts a word even where truncation has cut its word in two.
    starts_BL[:, 1] |= candidate_BL[:, 1]
    word_BL = np.where(candidate_BL, np.cumsum(starts_BL, axis=1) - 1, length - 1)

    # A row's words in random order: sort random numbers that carry the word's index in their low bits.
    low = np.uint64(length.bit_length())
    order_BL = bits(seeds_B[:, None], ORDER, np.arange(length)) >> low << low
    order_BL |= np.arange(length, dtype=np.uint64)
    words_B = starts_BL.sum(axis=1)
    order_BL[np.arange(length) >= words_B[:, None]] = np.uint64(2**64 - 1)
    order_BL.sort(axis=1)
    order_BL = (order_BL & ((np.uint64(1) << low) - np.uint64(1))).astype(np.int64)

    rows_B = np.arange(len(tokens_BL))
    flat = (rows_B[:, None] * length + word_BL)[candidate_BL]
    sizes_BL = np.bincount(flat, minlength=tokens_BL.size).reshape(tokens_BL.shape)
    taken_BL, count_B = np.zeros(tokens_BL.shape, bool), np.zeros(len(tokens_BL), np.int64)
    for rank in range(length):
        open_B = (count_B < number_B) & (rank < words_B)
        if not open_B.any():
            break
        word_B = np.minimum(order_BL[:, rank], length - 1)
        size_B = sizes_BL[rows_B, word_B]
        fits_B = open_B & (count_B + size_B <= number_B)
        taken_BL[rows_B, word_B] |= fits_B
        count_B += np.where(fits_B, size_B, 0)
    return candidate_BL & np.take_along_axis(taken_BL, word_BL, axis=1)
