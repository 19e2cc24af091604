"""Tokenizers trained on the source: characters, byte-pair encoding, WordPiece."""

import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from research.config import Data, Task
from research.data.sources.documents import folder_name, note_maker, refuse_changed
from research.data.tokenizers.published import (
    END_OF_TEXT,
    SPECIAL,
    byte_level,
    character_level,
    read,
    word_level,
)
from research.data.tokenizers.training_texts import fingerprint, texts
from research.errors import UsageError
from research.io.activity import activity
from research.io.home import home
from research.io.make_once import make_once


def load(data: Data, task: Task | None = None) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names, one of SCHEMES with its size; trained once and cached.

    It learns from the documents of the source, or from the examples of a `task`.

    Raises UsageError for a size that is wrong, or that the source cannot fill.
    """
    source_hash = fingerprint(data, task)
    folder = home() / "tokenizers-trained" / folder_name(data, f"{data.tokenizer} {source_hash}")

    def build(folder: Path) -> None:
        with activity(f"training the tokenizer {data.tokenizer}"):
            tokenizer = _trained(data, task)
        if fingerprint(data, task) != source_hash:
            refuse_changed(data)
        note_maker(folder, data)
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")

    make_once(folder, build)
    return read(folder)


def fitted(data: Data) -> str:
    """`data.tokenizer`, or a smaller one of its scheme if a short text supports fewer entries.

    A text with `LONG` characters per entry is assumed to support all entries.
    """
    scheme, _, size = data.tokenizer.partition(":")
    if scheme not in MIN_SIZE or not size.isdecimal() or _has(data, LONG * int(size)):
        return data.tokenizer
    try:
        load(data)
    except TooFewEntries as few:
        return fitted(replace(data, tokenizer=few.tokenizer))
    return data.tokenizer


def characters(data: Data, task: Task | None) -> Tokenizer:
    """The characters of both splits, ordered by code point as in nanoGPT's Shakespeare example."""
    alphabet = set()
    for text in texts(data, "all", task):
        alphabet.update(text)
    return character_level({character: index for index, character in enumerate(sorted(alphabet))})


def byte_pairs(data: Data, size: int, task: Task | None = None) -> Tokenizer:
    """GPT-2's scheme (Radford et al., 2019, section 2.2), trained on `_training_texts`."""
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer = byte_level(models.BPE())
    tokenizer.train_from_iterator(_training_texts(data, task), trainer)
    return tokenizer


def word_pieces(data: Data, size: int, task: Task | None = None) -> Tokenizer:
    """BERT's scheme, uncased, trained on `_training_texts`.

    Each of the most frequent characters, at most 1,000, becomes two pieces: at the start of a word and inside
    it.
    """
    untrained = word_level(models.WordPiece(unk_token="[UNK]"), cased=False)
    counts = Counter()
    for text in _training_texts(data, task):
        counts.update(untrained.normalizer.normalize_str(text))
    frequent = sorted(set(counts) - set(string.whitespace), key=lambda c: (-counts[c], c))
    alphabet = sorted(frequent[: min(1_000, size // 4)])
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        # The library would number the inner characters in random order.
        special_tokens=[*SPECIAL, *alphabet, *(f"##{character}" for character in alphabet)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    untrained.train_from_iterator(_training_texts(data, task), trainer)
    return word_level(models.WordPiece(untrained.get_vocab(), unk_token="[UNK]"), cased=False)


SCHEMES = {"char": characters, "bpe": byte_pairs, "wordpiece": word_pieces}
MIN_SIZE = {"bpe": len(pre_tokenizers.ByteLevel.alphabet()) + 1, "wordpiece": 32}
LONG = 64  # characters of text per entry; for Python's documentation 32 suffice for bpe:4096


class TooFewEntries(UsageError):
    """The source has no further pieces."""

    def __init__(self, data: Data, most: int):
        scheme = data.tokenizer.partition(":")[0]
        self.most, self.tokenizer = most, f"{scheme}:{most}"
        enough = most >= MIN_SIZE[scheme]
        hint = f"set data.tokenizer={self.tokenizer}" if enough else "expected a longer text"
        super().__init__(
            f"data.tokenizer={data.tokenizer}: {data.source} gives at most {most} entries; {hint}"
        )


def _trained(data: Data, task: Task | None) -> Tokenizer:
    scheme, _, size = data.tokenizer.partition(":")
    if scheme == "char":
        return characters(data, task)
    least = MIN_SIZE[scheme]
    if not size.isdecimal() or int(size) < least:
        raise UsageError(f"data.tokenizer={data.tokenizer}: expected {scheme}:SIZE with SIZE from {least}")
    tokenizer, most = SCHEMES[scheme](data, int(size), task), int(size)
    # WordPiece may then give fewer than it has just given: the size of its alphabet depends on what is asked.
    while (given := tokenizer.get_vocab_size()) != most and given >= least:
        most, tokenizer = given, SCHEMES[scheme](data, given, task)
    if given != int(size):
        raise TooFewEntries(data, given)
    return tokenizer


def _training_texts(data: Data, task: Task | None = None) -> Iterator[str]:
    """The training texts; with tail or head all documents, because the split is inside a document."""
    return texts(data, "all" if data.splits_tokens else "train", task)


def _has(data: Data, characters: int) -> bool:
    """Whether the training text has at least this many characters; reads no more."""
    return any(total >= characters for total in accumulate(map(len, _training_texts(data))))
