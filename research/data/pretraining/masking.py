"""What BERT predicts: which positions, and what is seen there (Devlin et al., 2018, appendix A.1).

Shapes: B rows, L length, P predictions at most.
"""

from typing import NamedTuple

import numpy as np

from research.config import Masking
from research.data.pretraining.counter_rng import bits, unit
from research.data.tokenizers.tokenizer import SpecialTokens

ORDER, FATE, WORD = range(3)  # what a draw decides


class Masked(NamedTuple):
    tokens: np.ndarray  # (B, L), as they are seen
    positions: np.ndarray  # (B, P), ascending, then zeros
    targets: np.ndarray  # (B, P), as they were
    weights: np.ndarray  # float32 (B, P): 1, then zeros


def mask(
    tokens_BL: np.ndarray,
    lengths_B: np.ndarray,
    names_B: np.ndarray,
    masking: Masking,
    special_tokens: SpecialTokens,
) -> Masked:
    """Of 10 tokens predicted, 8 are seen as [MASK], one as it is and one as any of the vocabulary.

    A row's draws depend on its name, uint64, alone. Never predicts [CLS], [SEP] and padding.
    """
    chosen_BL = choose(tokens_BL, lengths_B, names_B, masking, special_tokens)
    rows, lanes = np.nonzero(chosen_BL)
    fate, word = (bits(names_B[rows], kind, lanes) for kind in (FATE, WORD))
    share, known = unit(fate), tokens_BL[rows, lanes]
    seen = np.where(
        share < 0.8,
        special_tokens.mask,
        np.where(share < 0.9, known, word % np.uint64(special_tokens.entries)),
    )
    tokens_BL = tokens_BL.copy()
    tokens_BL[rows, lanes] = seen

    # In a row the nth chosen takes place n.
    nth = (np.cumsum(chosen_BL, axis=1) - 1)[rows, lanes]
    shape = (len(tokens_BL), masking.predictions)
    positions, targets, weights = (
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.float32),
    )
    positions[rows, nth], targets[rows, nth], weights[rows, nth] = lanes, known, 1
    return Masked(tokens_BL, positions, targets, weights)


def choose(
    tokens_BL: np.ndarray,
    lengths_B: np.ndarray,
    names_B: np.ndarray,
    masking: Masking,
    special_tokens: SpecialTokens,
) -> np.ndarray:
    """bool (B, L). Words in a random order are taken until the number is full, as published.

    The number is a share of the row's length, rounded, at least 1. A word is a token, or with
    `whole_words` its pieces together, passed over where they would be too many.
    """
    length = tokens_BL.shape[1]
    candidate_BL = (
        (tokens_BL != special_tokens.cls)
        & (tokens_BL != special_tokens.sep)
        & (np.arange(length) < lengths_B[:, None])
    )
    wanted_B = np.clip(np.rint(lengths_B * masking.share).astype(np.int64), 1, masking.predictions)
    opens_BL = candidate_BL & ~special_tokens.continues[tokens_BL] if masking.whole_words else candidate_BL
    # The first candidate opens a word even where its word was cut in two.
    opens_BL[:, 1] |= candidate_BL[:, 1]
    word_BL = np.where(candidate_BL, np.cumsum(opens_BL, axis=1) - 1, length - 1)

    # A row's words in random order: the lane in the low bits of a random number, sorted.
    low = np.uint64(length.bit_length())
    order_BL = bits(names_B[:, None], ORDER, np.arange(length)) >> low << low
    order_BL |= np.arange(length, dtype=np.uint64)
    words_B = opens_BL.sum(axis=1)
    order_BL[np.arange(length) >= words_B[:, None]] = np.uint64(2**64 - 1)
    order_BL.sort(axis=1)
    order_BL = (order_BL & ((np.uint64(1) << low) - np.uint64(1))).astype(np.int64)

    rows_B = np.arange(len(tokens_BL))
    flat = (rows_B[:, None] * length + word_BL)[candidate_BL]
    sizes_BL = np.bincount(flat, minlength=tokens_BL.size).reshape(tokens_BL.shape)
    taken_BL, count_B = np.zeros(tokens_BL.shape, bool), np.zeros(len(tokens_BL), np.int64)
    for rank in range(length):
        open_B = (count_B < wanted_B) & (rank < words_B)
        if not open_B.any():
            break
        word_B = np.minimum(order_BL[:, rank], length - 1)
        size_B = sizes_BL[rows_B, word_B]
        fits_B = open_B & (count_B + size_B <= wanted_B)
        taken_BL[rows_B, word_B] |= fits_B
        count_B += np.where(fits_B, size_B, 0)
    return candidate_BL & np.take_along_axis(taken_BL, word_BL, axis=1)
