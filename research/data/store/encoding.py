"""Texts to token ids: a stream, so that a corpus never has to fit in memory."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.data.sources.documents import Document
from research.data.store.sentences import sentences
from research.data.tokenizers.fast_bert import encoder
from research.data.tokenizers.tokenizer import end_of_text

BATCH = 1 << 20  # characters at once, over all cores
PIECE = 1 << 17  # characters of one document at once; more would cost memory and keep to one core

BOUNDARY = re.compile(r"(?<=\S)(?= \S)")


class Piece(NamedTuple):
    """A stretch of a document."""

    document: Document
    texts: list[str]  # its sentences, or a text as it is; at least one
    first: bool  # of its document
    last: bool
    opens: bool  # whether its first text opens a sentence, as all others do


def pieces(documents: Iterable[Document], by: str | None) -> Iterator[Piece]:
    """Every document, in order: in sentences if `by` says how these are found, cut up where it is long."""
    for document in documents:
        texts = sentences(document.text, by) if by else [document.text]
        cut = list(_stretches(texts)) if len(document.text) > PIECE else [(texts, True)]
        last = len(cut) - 1
        for n, (texts, opens) in enumerate(cut):
            yield Piece(document, texts, n == 0, n == last, opens)


class Encoded(NamedTuple):
    """A batch of pieces."""

    pieces: list[Piece]
    ids: np.ndarray  # int64, of all their texts, one after another
    ends: np.ndarray  # int64 (texts,): where in `ids` each ends


def encode(pieces: Iterable[Piece], tokenizer: Tokenizer) -> Iterator[Encoded]:
    """Batches of pieces with their ids; a last piece ends in `<|endoftext|>`, if the tokenizer has it.

    In a text, the spelling of a special token is but text.
    """
    ending, ids_of = end_of_text(tokenizer), encoder(tokenizer)

    def encoded(batch: list[Piece]) -> Encoded:
        ids = ids_of(list(chain.from_iterable(piece.texts for piece in batch)))
        if ending is not None:
            for piece, after in zip(batch, accumulate(len(piece.texts) for piece in batch), strict=True):
                if piece.last:
                    ids[after - 1].append(ending)
        ends = np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)))
        count = int(ends[-1]) if len(ends) else 0
        return Encoded(batch, np.fromiter(chain.from_iterable(ids), np.int64, count), ends)

    # The library encodes on every core; three threads keep them busy while others read, convert and write.
    with ThreadPoolExecutor(3) as workers:
        ahead = deque()
        for batch in _batches(pieces):
            ahead.append(workers.submit(encoded, batch))
            if len(ahead) > 3:
                yield ahead.popleft().result()
        for result in ahead:
            yield result.result()


def _batches(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    batch, size = [], 0
    for piece in pieces:
        batch.append(piece)
        size += sum(map(len, piece.texts))
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def _stretches(texts: list[str]) -> Iterator[tuple[list[str], bool]]:
    """Texts side by side up to PIECE characters, and whether the first is not but the rest of one.

    One that is longer is cut at a single space, where tokenizers that split words cut as well: the ids are
    those of the whole.
    """
    group, size = [], 0
    for text in texts:
        if group and size + len(text) > PIECE:
            yield group, True
            group, size = [], 0
        if len(text) <= PIECE:
            group.append(text)
            size += len(text)
        else:
            yield from (([part], n == 0) for n, part in enumerate(_cut(text)))
    if group:
        yield group, True


def _cut(text: str) -> Iterator[str]:
    begin = 0
    while begin < len(text):
        space = BOUNDARY.search(text, begin + PIECE)
        end = space.start() if space else len(text)
        yield text[begin:end]
        begin = end
