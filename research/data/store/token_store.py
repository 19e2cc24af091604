"""The token store: a source, tokenized once, as flat memory-mapped arrays."""

import json
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.sources.documents import fingerprint, folder_name, holds_tokens, parts
from research.data.store.building import build
from research.data.store.writing import SPLITS
from research.data.tokenizers.spacy_words import difference, rules
from research.data.tokenizers.tokenizer import SpecialTokens, end_of_text, entries, load, special_tokens
from research.errors import EnvironmentFault, UsageError
from research.io.home import home
from research.io.make_once import find_damage, make_once

FORMAT = 3  # version of the folder's format; each version has its own folders


class TokenStore(NamedTuple):
    """The tokens of one split, document after document."""

    tokens: np.ndarray  # uint16 or uint32 (tokens,), memory-mapped
    starts: np.ndarray  # int64 (documents,), memory-mapped: first token of each document
    bytes: int  # size of the text in UTF-8
    unigram_entropy: float  # nats per token: the loss of a model that knows only token frequencies
    sha256: str  # hash of the tokens, little-endian
    parts: tuple[int, ...] = (0,)  # first token of each source of a mixture
    shares: tuple[float, ...] = (1.0,)  # share of examples from each source of the mixture
    sentences: np.ndarray | None = None  # int64, memory-mapped: first token of each sentence; BERT only
    special_tokens: SpecialTokens | None = None  # BERT only
    folder: Path | None = None  # also holds files derived from the tokens
    ended: bool = False  # whether documents end in <|endoftext|>

    @property
    def documents(self) -> int:
        return len(self.starts)

    @property
    def baseline_loss(self) -> float:  # of a constant prediction
        return self.unigram_entropy

    def __reduce__(self) -> tuple:
        """Pickle the path instead of the tokens, so that another process maps the same files."""
        if self.folder is None:
            return TokenStore, tuple(self)
        return open_store, (self.folder, self.shares, self.special_tokens, self.ended)


class Corpus(NamedTuple):
    tokenizer: Tokenizer
    train: Any  # a TokenStore, or a split of labelled examples
    validation: Any


def prepare(data: Data, vocabulary: int, report: Callable[[str], None]) -> Corpus:
    """The tokens that `data` declares, tokenized or copied unless the cache under $LINEAGE_HOME has them.

    A killed preparation continues where it stopped. `report` gets progress lines and a final one. Raises
    UsageError for a source that cannot be read, a split without tokens, or a tokenizer with more entries than
    `vocabulary`; EnvironmentFault for a full disk.
    """
    tokenizer = load(data)
    size, special, copies = entries(tokenizer), special_tokens(tokenizer), holds_tokens(data)
    if size > vocabulary:
        raise UsageError(f"model.vocabulary={vocabulary}: the tokenizer {data.tokenizer} has {size} entries")
    if unlike := difference(tokenizer, data.tokenizer):
        report(unlike)
    if special and copies:
        raise UsageError(
            f"data.source={data.source}: BERT's pairs need sentence ends, which tokens do not have; "
            "expected text"
        )
    sentence_rule = data.sentences if special else None
    source_hash = fingerprint(data)
    key = f"{FORMAT} {source_hash} {sentence_rule} {tokenizer.to_str()}{rules(tokenizer)}"
    folder = home() / "stores" / folder_name(data, key)

    def make(folder: Path) -> float:
        return build(folder, data, source_hash, tokenizer, sentence_rule, report)

    speed = make_once(folder, make, resumable=True)
    shares = tuple(share for share, _ in parts(data))
    ended = end_of_text(tokenizer) is not None
    corpus = Corpus(tokenizer, *(open_store(folder / split, shares, special, ended) for split in SPLITS))
    report(_summary(folder, corpus, "copied" if copies else "tokenized", speed))
    return corpus


def open_store(
    folder: Path,
    shares: tuple[float, ...] = (1.0,),
    special_tokens: SpecialTokens | None = None,
    ended: bool = False,
) -> TokenStore:
    """Open a split written by `prepare`, with facts that its files do not hold.

    Raises EnvironmentFault if a file has been truncated since.
    """
    if damage := find_damage(folder.parent):
        raise EnvironmentFault(f"{damage}; remove {folder.parent} to make it again")
    facts = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    skipped = facts.pop("skipped", 0)  # tokens at the start that belong to another split
    dtype, parts, sentences = facts.pop("dtype"), tuple(facts.pop("parts")), folder / "sentences.bin"
    return TokenStore(
        mapped(folder / "tokens.bin", dtype)[skipped:],
        mapped(folder / "starts.bin", "<i8"),
        parts=parts,
        shares=shares,
        sentences=mapped(sentences, "<i8") if sentences.exists() else None,
        special_tokens=special_tokens,
        folder=folder,
        ended=ended,
        **facts,
    )


def mapped(path: Path, dtype: np.dtype | str) -> np.ndarray:
    """Maps the array in a non-empty file into memory, read-only."""
    with open(path, "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    pages.madvise(mmap.MADV_RANDOM)  # no read-ahead: examples are read in random order
    return np.frombuffer(pages, dtype)


def _summary(folder: Path, corpus: Corpus, made: str, speed: float | None) -> str:
    splits = corpus.train, corpus.validation
    tokens, size = sum(len(split.tokens) for split in splits), sum(split.bytes for split in splits)
    return ", ".join(
        [
            f"{folder.name}: {' + '.join(f'{split.documents:,}' for split in splits)} documents",
            f"{' + '.join(f'{len(split.tokens):,}' for split in splits)} tokens",
            f"{size / tokens:.2f} bytes per token",
            "found in the cache" if speed is None else f"{made} at {speed:.1f} MB/s",
        ]
    )
