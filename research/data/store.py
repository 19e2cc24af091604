"""The token store: a source, tokenized once, as flat arrays that are mapped into memory."""

import hashlib
import json
import os
import re
import time
from array import array
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.encoding import encode
from research.data.once import make_once
from research.data.sources import documents, fingerprint
from research.data.tokenizer import entries, load
from research.errors import UsageError
from research.home import home

FORMAT = 1  # of the folder; a later one gets folders of its own
CHUNK = 1 << 24  # tokens measured at once


class Store(NamedTuple):
    """The tokens of one split, document after document."""

    tokens: np.ndarray  # uint16 or uint32 (tokens,), mapped
    starts: np.ndarray  # int64 (documents,), mapped: where in `tokens` each document begins
    bytes: int  # of the text, in UTF-8
    unigram_entropy: float  # nats a token: the loss of knowing how frequent each is here, and no more
    sha256: str  # of the tokens, little-endian

    @property
    def documents(self) -> int:
        return len(self.starts)


class Corpus(NamedTuple):
    tokenizer: Tokenizer
    train: Store
    validation: Store


def prepare(data: Data, vocabulary: int, report: Callable[[str], None]) -> Corpus:
    """The tokens that `data` declares; made where they are not yet kept under home.

    `report` gets one line. Raises UsageError for a source that cannot be read, a split without
    tokens, a tokenizer with more entries than `vocabulary`; EnvironmentFault for a full disk.
    """
    tokenizer = load(data)
    if entries(tokenizer) > vocabulary:
        raise UsageError(
            f"model.vocabulary={vocabulary}: the tokenizer {data.tokenizer} has {entries(tokenizer)} entries"
        )
    folder = home() / "stores" / _name(data, tokenizer)
    begun = time.monotonic()
    made = make_once(folder, partial(_make, data=data, tokenizer=tokenizer))
    corpus = Corpus(tokenizer, open_store(folder / "train"), open_store(folder / "validation"))
    report(_summary(folder, corpus, time.monotonic() - begun if made else None))
    return corpus


def open_store(folder: Path) -> Store:
    """A split as `prepare` has written it."""
    facts = json.loads((folder / "store.json").read_text())
    tokens = np.memmap(folder / "tokens.bin", facts.pop("dtype"), mode="r")
    return Store(tokens, np.load(folder / "starts.npy", mmap_mode="r"), **facts)


def _make(folder: Path, data: Data, tokenizer: Tokenizer) -> None:
    dtype = np.dtype("<u2" if entries(tokenizer) <= 1 << 16 else "<u4")
    train, validation = folder / "train", folder / "validation"
    if data.split == "tail":
        size = _write(train, documents(data, "all"), tokenizer, dtype)
        after = _cut(train, validation, data.holdout, tokenizer, dtype)
        sizes = {train: size - after, validation: after}
    else:
        sizes = {
            split: _write(split, documents(data, split.name), tokenizer, dtype)
            for split in (train, validation)
        }
    for split, size in sizes.items():
        _measure(split, size, entries(tokenizer), dtype)


def _write(folder: Path, texts: Iterable[str], tokenizer: Tokenizer, dtype: np.dtype) -> int:
    """Tokens and starts; returns the bytes of text."""
    folder.mkdir()
    starts, count, size = array("q"), 0, 0
    with open(folder / "tokens.bin", "wb") as file:
        for piece, ids in encode(texts, tokenizer):
            if piece.first:
                starts.append(count)
            file.write(np.array(ids, dtype).tobytes())
            count += len(ids)
            size += len(piece.text.encode())
    np.save(folder / "starts.npy", np.array(starts, np.int64))
    return size


def _cut(whole: Path, tail: Path, share: float, tokenizer: Tokenizer, dtype: np.dtype) -> int:
    """Moves the last `share` of tokens from `whole` to `tail`; returns the bytes of their text."""
    tail.mkdir()
    tokens, starts = np.memmap(whole / "tokens.bin", dtype, mode="r"), np.load(whole / "starts.npy")
    cut = int(len(tokens) * (1 - share))
    after = np.union1d(cut, starts[starts > cut])
    np.save(tail / "starts.npy", after - cut)
    np.save(whole / "starts.npy", starts[starts < cut])
    tokens[cut:].tofile(tail / "tokens.bin")
    texts = (tokenizer.decode(part.tolist()) for part in np.split(tokens, after)[1:])
    size = sum(len(text.encode()) for text in texts)
    os.truncate(whole / "tokens.bin", cut * dtype.itemsize)
    return size


def _measure(folder: Path, size: int, entries: int, dtype: np.dtype) -> None:
    """Writes beside the tokens what is known of them."""
    file = folder / "tokens.bin"
    if file.stat().st_size < 2 * dtype.itemsize:
        raise UsageError(f"data.holdout: leaves {folder.name} fewer than two tokens, and none to predict")
    tokens = np.memmap(file, dtype, mode="r")
    counts, digest = np.zeros(entries, np.int64), hashlib.sha256()
    for begin in range(0, len(tokens), CHUNK):
        chunk = tokens[begin : begin + CHUNK]
        counts += np.bincount(chunk, minlength=entries)
        digest.update(chunk)
    shares = counts[counts > 0] / len(tokens)
    facts = {
        "dtype": dtype.str,
        "bytes": size,
        "unigram_entropy": float(-(shares * np.log(shares)).sum()),
        "sha256": digest.hexdigest(),
    }
    (folder / "store.json").write_text(json.dumps(facts, indent=1))


def _name(data: Data, tokenizer: Tokenizer) -> str:
    key = f"{FORMAT} {fingerprint(data)} {tokenizer.to_str()}"
    readable = re.sub(r"\W+", "-", f"{data.source}-{data.tokenizer}")[-60:].strip("-")
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _summary(folder: Path, corpus: Corpus, seconds: float | None) -> str:
    splits = corpus.train, corpus.validation
    tokens, size = sum(len(split.tokens) for split in splits), sum(split.bytes for split in splits)
    return ", ".join(
        [
            f"{folder.name}: {' + '.join(f'{split.documents:,}' for split in splits)} documents",
            f"{' + '.join(f'{len(split.tokens):,}' for split in splits)} tokens",
            f"{size / tokens:.2f} bytes a token",
            "found in the cache" if seconds is None else f"tokenized at {size / 1e6 / seconds:.1f} MB/s",
        ]
    )
