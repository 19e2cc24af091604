"""Texts to token ids: a stream, so that a corpus never has to fit in memory."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tokenizers import Tokenizer

from research.data.tokenizer import end_of_text

BATCH = 1 << 22  # characters at once, over all cores
PIECE = 1 << 17  # characters of one document at once; more would cost memory and keep to one core

BOUNDARY = re.compile(r"(?<=\S)(?= \S)")


class Piece(NamedTuple):
    """A stretch of a document."""

    text: str
    first: bool  # of its document
    last: bool


def encode(texts: Iterable[str], tokenizer: Tokenizer) -> Iterator[tuple[Piece, list[int]]]:
    """Every text in order, piece by piece, with its ids; a last piece ends in `<|endoftext|>`, if known.

    In a text, the spelling of a special token is but text. Pieces begin at a single space, where
    tokenizers that split words cut as well: the ids are those of the whole text.
    """
    ending = end_of_text(tokenizer)
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.encode_special_tokens = True
    for batch in _batches(texts):
        encodings = tokenizer.encode_batch_fast([piece.text for piece in batch], add_special_tokens=False)
        for piece, encoding in zip(batch, encodings, strict=True):
            yield piece, encoding.ids + [ending] * (piece.last and ending is not None)


def _batches(texts: Iterable[str]) -> Iterator[list[Piece]]:
    batch, size = [], 0
    for text in texts:
        for piece in _pieces(text):
            batch.append(piece)
            size += len(piece.text)
            if size >= BATCH:
                yield batch
                batch, size = [], 0
    yield batch


def _pieces(text: str) -> Iterator[Piece]:
    begin = 0
    while begin < len(text):
        space = BOUNDARY.search(text, begin + PIECE)
        end = space.start() if space else len(text)
        yield Piece(text[begin:end], begin == 0, end == len(text))
        begin = end
