"""Texts or ids to a padded batch.

Shapes: B rows, L length of the longest row.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from tokenizers import Tokenizer

from research.data.tokenizers.tokenizer import encode as encode_text
from research.errors import UsageError
from research.generation.sampling import round_up

# A text, a list of texts or (for a BERT) of pairs of texts, the ids of one row, or those of several rows,
# perhaps of different lengths.
TextOrIds = (
    str
    | Sequence[str]
    | Sequence[tuple[str, str]]
    | Sequence[str | tuple[str, str]]
    | Sequence[int]
    | Sequence[Sequence[int]]
    | np.ndarray
    | Array
)


class Inputs(NamedTuple):
    """A batch, padded at the end of its rows."""

    tokens_BL: np.ndarray  # int32; 0 where padded
    segments_BL: np.ndarray  # int32; 1 for the second text of a pair, which only a BERT reads
    lengths_B: np.ndarray  # int32; tokens without padding

    @property
    def length(self) -> int:
        return self.tokens_BL.shape[1]

    @property
    def rows(self) -> list[np.ndarray]:
        """The ids of each row, without padding."""
        return [row[:length] for row, length in zip(self.tokens_BL, self.lengths_B, strict=True)]

    def within(self, context: int) -> "Inputs":
        """The same. Raises UsageError for rows longer than the context."""
        if self.length > context:
            raise UsageError(f"{self.length} tokens: expected at most {context}, the context")
        return self

    def padded(self, context: int) -> "Inputs":
        """With L rounded up, at most to `context`, so that few shapes are compiled."""
        more = max(min(round_up(self.length), context) - self.length, 0)
        tokens_BL, segments_BL = (np.pad(x, ((0, 0), (0, more))) for x in self[:2])
        return Inputs(tokens_BL, segments_BL, self.lengths_B)


def encode(
    text_or_ids: TextOrIds, tokenizer: Tokenizer | None, vocabulary: int, special_tokens: bool
) -> Inputs:
    """A batch with one row for one text, or a row per text, pair of texts or list of ids.

    With `special_tokens`, texts get BERT's [CLS] and [SEP] and may be pairs; ids stay as they are.
    Raises UsageError for an empty row, for ids outside the vocabulary, and for texts without a tokenizer.
    """
    if isinstance(text_or_ids, Array):
        text_or_ids = np.asarray(text_or_ids)
    if not isinstance(text_or_ids, Sequence | np.ndarray):
        raise UsageError(f"{text_or_ids!r}: expected a text, texts or ids")
    rows = [text_or_ids] if isinstance(text_or_ids, str) else list(text_or_ids)
    if any(isinstance(row, str) or _is_pair(row) for row in rows):
        ids, segments = _tokenize(rows, tokenizer, special_tokens)
    else:
        ids = [rows] if rows and np.ndim(rows[0]) == 0 else rows
        ids = [np.asarray(row) for row in ids]
        segments = [np.zeros(len(row), np.int32) for row in ids]
    if not ids:
        raise UsageError("an empty list: expected a text, texts or ids")
    for number, row in enumerate(ids):
        _check(number, row, vocabulary)
    lengths_B = np.asarray([len(row) for row in ids], np.int32)
    tokens_BL, segments_BL = (np.zeros((len(ids), lengths_B.max()), np.int32) for _ in range(2))
    for n, length in enumerate(lengths_B):
        tokens_BL[n, :length], segments_BL[n, :length] = ids[n], segments[n]
    return Inputs(tokens_BL, segments_BL, lengths_B)


def arguments(module: Any, inputs: Inputs) -> tuple[Any, ...]:
    """A GPT takes only tokens: no position attends to the padding after it."""
    return tuple(inputs) if module.bidirectional else (inputs.tokens_BL,)


def _tokenize(texts: list, tokenizer: Tokenizer | None, special_tokens: bool) -> tuple[list, list]:
    if tokenizer is None:
        raise UsageError("no tokenizer beside the weights: expected ids, or load(…, tokenizer=NAME or PATH)")
    if not all(isinstance(text, str) or _is_pair(text) for text in texts):
        raise UsageError("texts and ids in one list: expected either")
    if not special_tokens and any(map(_is_pair, texts)):
        raise UsageError("a pair of texts: only a BERT reads pairs")
    pairs = [(text, None) if isinstance(text, str) else text for text in texts]
    encoded = [encode_text(tokenizer, text, special_tokens, second) for text, second in pairs]
    return [np.asarray(row.ids, np.int64) for row in encoded], [row.type_ids for row in encoded]


def _is_pair(row: object) -> bool:
    return isinstance(row, tuple) and len(row) == 2 and all(isinstance(text, str) for text in row)


def _check(number: int, row: np.ndarray, vocabulary: int) -> None:
    if row.ndim != 1 or row.size == 0:
        raise UsageError(f"row {number}, of shape {row.shape}: expected at least one token")
    if row.dtype.kind not in "iu":
        raise UsageError(f"row {number}: ids of type {row.dtype}: expected integers")
    if row.min() < 0 or row.max() >= vocabulary:
        outside = row[(row < 0) | (row >= vocabulary)][0]
        raise UsageError(f"row {number}: id {outside}: expected from 0 to {vocabulary - 1}, the vocabulary")
