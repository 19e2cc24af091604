"""Encoding of documents as a stream, so that a corpus never has to fit into memory."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, chain, pairwise
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.data.sources.documents import Document
from research.data.tokenizers.fast_bert import encoder
from research.data.tokenizers.tokenizer import end_of_text
from research.io.text import split_lines

BATCH_SIZE = 1 << 20  # characters per batch, which all cores share
CHUNK_SIZE = 1 << 17  # characters of a document per chunk; a larger chunk takes more memory and only one core

BOUNDARY = re.compile(r"(?<=\S)(?= \S)")

ABBREVIATIONS = (
    "Mr", "Mrs", "Ms", "Dr", "St", "Mt", "Ft", "Jr", "Sr", "vs", "Prof", "Rev", "Hon", "Gen", "Col", "Capt",
    "Cpt", "Lt", "Sgt", "Maj", "Sen", "Rep", "Gov", "Pres", "No", "Vol", "Fig",
)  # fmt: skip

# A newline ends a sentence. So does a full stop, question or exclamation mark, with closing quotes or
# brackets, before text that can start a sentence. The stop of an initial or an abbreviation does not. Google
# published no splitter: its input has one sentence per line. The pattern starts with one character class,
# which `re` finds four times as fast as alternatives.
_END = r"[\"')\]’”]*\s+(?=[\"'(\[‘“]?[A-Z0-9])"
_ABBREVIATED = "".join(rf"(?<!\b{word}\.)" for word in ABBREVIATIONS)
SENTENCE_END = re.compile(rf"[.!?\n](?:(?<=\n)\s*|(?={_END})(?<!\b[A-Z]\.){_ABBREVIATED}{_END})")


class Chunk(NamedTuple):
    """A part of a document, or all of it."""

    document: Document
    texts: list[str]  # its sentences, or the whole text; at least one
    first: bool  # whether it is the first of its document
    last: bool
    starts_sentence: bool  # whether its first text starts a sentence; all others do


def chunks(documents: Iterable[Document], sentence_rule: str | None) -> Iterator[Chunk]:
    """Split long documents into chunks, in order; `sentence_rule` also splits them into sentences."""
    for document in documents:
        texts = sentences(document.text, sentence_rule) if sentence_rule else [document.text]
        groups = list(_group(texts)) if len(document.text) > CHUNK_SIZE else [(texts, True)]
        last = len(groups) - 1
        for n, (texts, starts_sentence) in enumerate(groups):
            yield Chunk(document, texts, n == 0, n == last, starts_sentence)


def sentences(text: str, rule: str) -> list[str]:
    """Split a text into sentences, which add up to the text. `rule` is "punctuation" or "lines"."""
    if rule == "lines":
        return split_lines(text, keep_ends=True)
    ends = [0, *(boundary.end() for boundary in SENTENCE_END.finditer(text))]
    if ends[-1] < len(text):
        ends.append(len(text))
    return [text[begin:end] for begin, end in pairwise(ends)]


class Encoded(NamedTuple):
    """A batch of chunks with their ids."""

    chunks: list[Chunk]
    ids: np.ndarray  # int64 (tokens,): the ids of all texts, concatenated
    ends: np.ndarray  # int64 (texts,): where in `ids` each text ends


def encode(chunks: Iterable[Chunk], tokenizer: Tokenizer, standardize: str = "none") -> Iterator[Encoded]:
    """Encode chunks in batches; add `<|endoftext|>` after the last of a document, if the tokenizer has it.

    Special tokens spelled out in a text are encoded as ordinary text. The documents have been cleaned by
    `standardize`.
    """
    ending, ids_of = end_of_text(tokenizer), encoder(tokenizer, standardize)

    def encode_batch(batch: list[Chunk]) -> Encoded:
        ids = ids_of(list(chain.from_iterable(chunk.texts for chunk in batch)))
        if ending is not None:
            for chunk, after in zip(batch, accumulate(len(chunk.texts) for chunk in batch), strict=True):
                if chunk.last:
                    ids[after - 1].append(ending)
        ends = np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)))
        count = int(ends[-1]) if len(ends) else 0
        return Encoded(batch, np.fromiter(chain.from_iterable(ids), np.int64, count), ends)

    # The library encodes on all cores. Three threads keep them busy while other threads read, convert and
    # write.
    with ThreadPoolExecutor(3) as workers:
        ahead = deque()
        for batch in _batches(chunks):
            ahead.append(workers.submit(encode_batch, batch))
            if len(ahead) > 3:
                yield ahead.popleft().result()
        for result in ahead:
            yield result.result()


def _batches(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    batch, size = [], 0
    for chunk in chunks:
        batch.append(chunk)
        size += sum(map(len, chunk.texts))
        if size >= BATCH_SIZE:
            yield batch
            batch, size = [], 0
    yield batch


def _group(texts: list[str]) -> Iterator[tuple[list[str], bool]]:
    """Groups of texts up to CHUNK_SIZE characters, each with whether it starts a sentence.

    A longer text is cut at single spaces. Tokenizers that split words cut there too, so that the ids are
    those of the whole text.
    """
    group, size = [], 0
    for text in texts:
        if group and size + len(text) > CHUNK_SIZE:
            yield group, True
            group, size = [], 0
        if len(text) <= CHUNK_SIZE:
            group.append(text)
            size += len(text)
        else:
            yield from (([part], n == 0) for n, part in enumerate(_cut(text)))
    if group:
        yield group, True


def _cut(text: str) -> Iterator[str]:
    begin = 0
    while begin < len(text):
        space = BOUNDARY.search(text, begin + CHUNK_SIZE)
        end = space.start() if space else len(text)
        yield text[begin:end]
        begin = end
