"""Texts to token ids: a stream, so that a corpus never has to fit in memory."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.data.normalized import encoder
from research.data.sentences import sentences
from research.data.sources import Document
from research.data.tokenizer import end_of_text

BATCH = 1 << 20  # characters at once, over all cores
PIECE = 1 << 17  # characters of one document at once; more would cost memory and keep to one core

BOUNDARY = re.compile(r"(?<=\S)(?= \S)")


class Piece(NamedTuple):
    """A stretch of a document."""

    document: Document
    text: str
    first: bool  # of its document
    last: bool
    opens: bool  # a sentence


def pieces(documents: Iterable[Document], by: str | None) -> Iterator[Piece]:
    """Every document cut up, in order: at the ends of sentences, if `by` says how these are found.

    Long stretches are cut at a single space, where tokenizers that split words cut as well: the ids are
    those of the whole text.
    """
    for document in documents:
        texts = sentences(document.text, by) if by else [document.text]
        cut = [(part, n == 0) for text in texts for n, part in enumerate(_stretches(text))]
        last = len(cut) - 1
        for n, (text, opens) in enumerate(cut):
            yield Piece(document, text, n == 0, n == last, opens)


class Encoded(NamedTuple):
    """A batch of pieces."""

    pieces: list[Piece]
    ids: np.ndarray  # int64, of all, one after another
    ends: np.ndarray  # int64 (pieces,): where in `ids` each ends


def encode(pieces: Iterable[Piece], tokenizer: Tokenizer) -> Iterator[Encoded]:
    """Batches of pieces with their ids; a last piece ends in `<|endoftext|>`, if the tokenizer has it.

    In a text, the spelling of a special token is but text.
    """
    ending, ids_of = end_of_text(tokenizer), encoder(tokenizer)

    def encoded(batch: list[Piece]) -> Encoded:
        ids = ids_of([piece.text for piece in batch])
        if ending is not None:
            for piece, own in zip(batch, ids, strict=True):
                if piece.last:
                    own.append(ending)
        ends = np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)))
        count = int(ends[-1]) if len(ends) else 0
        return Encoded(batch, np.fromiter(chain.from_iterable(ids), np.int64, count), ends)

    # The library encodes on every core; two threads keep them busy while others read, convert and write.
    with ThreadPoolExecutor(2) as workers:
        ahead = deque()
        for batch in _batches(pieces):
            ahead.append(workers.submit(encoded, batch))
            if len(ahead) > 2:
                yield ahead.popleft().result()
        for result in ahead:
            yield result.result()


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    batch, size = [], 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _stretches(text: str) -> Iterator[str]:
    if len(text) <= PIECE:
        yield text
        return
    begin = 0
    while begin < len(text):
        space = BOUNDARY.search(text, begin + PIECE)
        end = space.start() if space else len(text)
        yield text[begin:end]
        begin = end
