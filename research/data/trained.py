"""Tokenizers that are trained on the source: characters, byte pairs, word pieces."""

import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from research.config import Data
from research.data.once import make_once
from research.data.published import END_OF_TEXT, SPECIAL, byte_level, read, word_level
from research.data.sources import documents, fingerprint, folder_name, see_unchanged
from research.errors import UsageError
from research.home import home


def load(data: Data) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names: one of SCHEMES, with its size. Trained once and kept."""
    scheme, _, size = data.tokenizer.partition(":")
    made_of = fingerprint(data)
    folder = home() / "tokenizers-trained" / folder_name(data, f"{data.tokenizer} {made_of}")
    arguments = [] if scheme == "char" else [_size(scheme, size)]

    def build(folder: Path) -> None:
        tokenizer = SCHEMES[scheme](data, *arguments)
        see_unchanged(data, made_of)
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")

    make_once(folder, build)
    return read(folder)


def characters(data: Data) -> Tokenizer:
    """One token a character, in the order of code points, as in nanoGPT's Shakespeare. Lossless."""
    alphabet = set()
    for text in documents(data, "all"):
        alphabet.update(text)
    vocabulary = {character: index for index, character in enumerate(sorted(alphabet))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def byte_pairs(data: Data, size: int) -> Tokenizer:
    """GPT-2's scheme (Radford et al., 2019, section 2.2), trained on the documents that train.

    Under data.split=tail no document only trains, and the merges are learned from all.
    """
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return _train(byte_level(models.BPE()), trainer, data, size)


def word_pieces(data: Data, size: int) -> Tokenizer:
    """BERT's scheme, uncased, learned from the documents that byte pairs are learned from.

    Of the most frequent characters, at most 1,000, each is a piece at a word's beginning and within it.
    """
    blank = word_level(models.WordPiece(unk_token="[UNK]"), cased=False)
    counts = Counter()
    for text in _learnt_from(data):
        counts.update(blank.normalizer.normalize_str(text))
    frequent = sorted(set(counts) - set(string.whitespace), key=lambda c: (-counts[c], c))
    alphabet = sorted(frequent[: min(1_000, size // 4)])
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        # Left to itself, the library numbers the inner characters by chance.
        special_tokens=[*SPECIAL, *alphabet, *(f"##{character}" for character in alphabet)],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    learned = _train(blank, trainer, data, size)
    return word_level(models.WordPiece(learned.get_vocab(), unk_token="[UNK]"), cased=False)


SCHEMES = {"char": characters, "bpe": byte_pairs, "wordpiece": word_pieces}
LEAST = {"bpe": len(pre_tokenizers.ByteLevel.alphabet()) + 1, "wordpiece": 32}


def _train(tokenizer: Tokenizer, trainer: trainers.Trainer, data: Data, size: int) -> Tokenizer:
    tokenizer.train_from_iterator(_learnt_from(data), trainer)
    if tokenizer.get_vocab_size() != size:
        raise UsageError(
            f"data.tokenizer={data.tokenizer}: {data.source} gives {tokenizer.get_vocab_size()} entries"
            " and no more"
        )
    return tokenizer


def _learnt_from(data: Data) -> Iterator[str]:
    return documents(data, "all" if data.split == "tail" else "train")


def _size(scheme: str, size: str) -> int:
    least = LEAST[scheme]
    if not size.isdecimal() or int(size) < least:
        given = f"{scheme}:{size}" if size else scheme
        raise UsageError(f"data.tokenizer={given}: expected {scheme}:SIZE with SIZE from {least}")
    return int(size)
