"""Texts to token ids: a stream, so that a corpus never has to fit in memory."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tokenizers import Tokenizer

from research.data.sentences import sentences
from research.data.sources import Document
from research.data.tokenizer import end_of_text

BATCH = 1 << 22  # characters at once, over all cores
PIECE = 1 << 17  # characters of one document at once; more would cost memory and keep to one core

BOUNDARY = re.compile(r"(?<=\S)(?= \S)")


class Piece(NamedTuple):
    """A stretch of a document."""

    document: Document
    text: str
    first: bool  # of its document
    last: bool
    opens: bool  # a sentence


Encoded = list[tuple[Piece, list[int]]]


def pieces(documents: Iterable[Document], by: str | None) -> Iterator[Piece]:
    """Every document cut up, in order: at the ends of sentences, if `by` says how these are found.

    Long stretches are cut at a single space, where tokenizers that split words cut as well: the ids are
    those of the whole text.
    """
    for document in documents:
        cut = [
            (text, n == 0)
            for sentence in (sentences(document.text, by) if by else [document.text])
            for n, text in enumerate(_stretches(sentence))
        ]
        for n, (text, opens) in enumerate(cut):
            yield Piece(document, text, n == 0, n == len(cut) - 1, opens)


def encode(pieces: Iterable[Piece], tokenizer: Tokenizer) -> Iterator[Encoded]:
    """Batches of pieces with their ids; a last piece ends in `<|endoftext|>`, if the tokenizer has it.

    In a text, the spelling of a special token is but text.
    """
    ending = end_of_text(tokenizer)
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.encode_special_tokens = True

    def encoded(batch: list[Piece]) -> Encoded:
        texts = [piece.text for piece in batch]
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [
            (piece, encoding.ids + [ending] * (piece.last and ending is not None))
            for piece, encoding in zip(batch, encodings, strict=True)
        ]

    # The library encodes on every core; a thread keeps them busy while others read and write.
    with ThreadPoolExecutor(1) as worker:
        ahead = deque()
        for batch in _batches(pieces):
            ahead.append(worker.submit(encoded, batch))
            if len(ahead) > 1:
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
    begin = 0
    while begin < len(text):
        space = BOUNDARY.search(text, begin + PIECE)
        end = space.start() if space else len(text)
        yield text[begin:end]
        begin = end
