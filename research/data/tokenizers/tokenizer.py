"""Tokenizers, published or trained on the source. All are Hugging Face `Tokenizer`s."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer, decoders

from research.config import Data, Task
from research.data.sources import token_files
from research.data.tokenizers import published, spacy_words, trained
from research.data.tokenizers.published import END_OF_TEXT
from research.errors import UsageError
from research.io.files import as_utf8


class SpecialTokens(NamedTuple):
    """Special ids and word boundaries of a BERT vocabulary."""

    entries: int  # size of the vocabulary
    pad: int
    cls: int
    sep: int
    mask: int
    continues: np.ndarray  # bool (entries,): pieces that continue a word (##…)


def load(data: Data, task: Task | None = None) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names: trained on the source, or on the examples of a `task` of it
    (`trained.load`), or `published.load`.

    `char` with nanoGPT's tokens reads the table beside them.
    """
    scheme = data.tokenizer.partition(":")[0]
    if scheme == "char" and (table := token_files.characters_beside(data.source)) is not None:
        return published.read(table)
    return trained.load(data, task) if scheme in trained.SCHEMES else published.load(data.tokenizer)


def encode(
    tokenizer: Tokenizer, text: str, add_special_tokens: bool = False, second: str | None = None
) -> Encoding:
    """Tokenize `text`, or the pair of `text` and `second`.

    Raises UsageError for a text that is not UTF-8, and for characters missing in a character vocabulary;
    EnvironmentFault if a tokenizer needs spaCy and it is missing.
    """
    texts = [text] if second is None else [text, second]
    for each in texts:
        try:
            each.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{as_utf8(each)[:60]!r}: is not UTF-8") from None
    texts = [spacy_words.prepared(tokenizer, each) for each in texts]
    try:
        return tokenizer.encode(*texts, add_special_tokens=add_special_tokens)
    except Exception as fault:  # the library raises plain Exception
        if missing := sorted(set("".join(texts)) - tokenizer.get_vocab().keys()):
            shown = ", ".join(map(repr, missing[:10]))
            raise UsageError(f"{text[:60]!r}: the vocabulary has no {shown}") from fault
        raise


def document_start(tokenizer: Tokenizer) -> list[int]:
    """The tokens before a document: the end of the previous one, a line end, or the first entry."""
    if (end := end_of_text(tokenizer)) is not None:
        return [end]
    if spacy_words.reads_words(tokenizer):
        return tokenizer.encode("\n", add_special_tokens=False).ids
    with suppress(UsageError):  # a character vocabulary without line ends
        if ids := encode(tokenizer, "\n").ids:
            return ids
    return [0]


def end_of_text(tokenizer: Tokenizer) -> int | None:
    """The id of <|endoftext|>; None if the tokenizer does not have it."""
    return tokenizer.token_to_id(END_OF_TEXT)


def entries(tokenizer: Tokenizer) -> int:
    """Number of embedding rows that the tokenizer needs: its largest id plus one."""
    return 1 + max(tokenizer.get_vocab().values())


def entry_bytes(tokenizer: Tokenizer) -> np.ndarray:
    """int64 (entries,): bytes of text per entry inside a text; 0 for special entries."""
    sizes = np.zeros(entries(tokenizer), np.int64)
    special = {index for index, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    bytewise = isinstance(tokenizer.decoder, decoders.ByteLevel)  # each character of an entry is a byte
    other = next(index for index in tokenizer.get_vocab().values() if index not in special)
    without = len(tokenizer.decode([other, other]).encode())
    for entry, index in tokenizer.get_vocab().items():
        if index not in special:
            inside = [other, index, other]
            sizes[index] = len(entry) if bytewise else len(tokenizer.decode(inside).encode()) - without
    return sizes


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens | None:
    """The special tokens of a BERT tokenizer; None for other tokenizers."""
    pad, cls, sep, mask = (tokenizer.token_to_id(f"[{name}]") for name in ("PAD", "CLS", "SEP", "MASK"))
    if pad is None or cls is None or sep is None or mask is None:
        return None
    continues = np.zeros(entries(tokenizer), bool)
    continues[[index for piece, index in tokenizer.get_vocab().items() if piece.startswith("##")]] = True
    return SpecialTokens(len(continues), pad, cls, sep, mask, continues)
