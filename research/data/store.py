"""The token store: a source, tokenized once, as flat arrays that are mapped into memory."""

import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.mapped import mapped
from research.data.once import make_once
from research.data.sources import fingerprint, folder_name, parts, see_unchanged
from research.data.tokenizer import Marks, end_of_text, entries, load, marks
from research.data.writing import SPLITS, write
from research.errors import UsageError
from research.home import home

FORMAT = 3  # of the folder; a later one gets folders of its own
CHUNK = 1 << 24  # tokens measured at once


class Store(NamedTuple):
    """The tokens of one split, document after document."""

    tokens: np.ndarray  # uint16 or uint32 (tokens,), mapped
    starts: np.ndarray  # int64 (documents,), mapped: where in `tokens` each document begins
    bytes: int  # of the text, in UTF-8
    unigram_entropy: float  # nats a token: the loss of knowing how frequent each is here, and no more
    sha256: str  # of the tokens, little-endian
    parts: tuple[int, ...] = (0,)  # where in `tokens` each source of a mixture begins
    shares: tuple[float, ...] = (1.0,)  # of examples that each source of the mixture gives
    sentences: np.ndarray | None = None  # int64, mapped: where each sentence begins, for BERT's tokenizers
    marks: Marks | None = None  # of a BERT tokenizer's vocabulary
    folder: Path | None = None  # where what is made of the tokens can be kept
    ended: bool = False  # whether documents end in <|endoftext|>

    @property
    def documents(self) -> int:
        return len(self.starts)

    def __reduce__(self) -> tuple:
        """Another process maps the same files; what is in no file goes by value."""
        if self.folder is None:
            return Store, tuple(self)
        return reopened, (self.folder, self.shares, self.marks, self.ended)


class Corpus(NamedTuple):
    tokenizer: Tokenizer
    train: Store
    validation: Store


def prepare(data: Data, vocabulary: int, report: Callable[[str], None]) -> Corpus:
    """The tokens that `data` declares; made where they are not yet kept under home.

    A preparation that was killed goes on where it was. `report` gets a line now and then, and one at the
    end. Raises UsageError for a source that cannot be read, a split without tokens, a tokenizer with more
    entries than `vocabulary`; EnvironmentFault for a full disk.
    """
    tokenizer = load(data)
    size, known = entries(tokenizer), marks(tokenizer)
    if size > vocabulary:
        raise UsageError(f"model.vocabulary={vocabulary}: the tokenizer {data.tokenizer} has {size} entries")
    by = data.sentences if known else None
    made_of = fingerprint(data)
    folder = home() / "stores" / folder_name(data, f"{FORMAT} {made_of} {by} {tokenizer.to_str()}")
    make = partial(_make, data=data, made_of=made_of, tokenizer=tokenizer, entries=size, by=by, report=report)
    speed = make_once(folder, make, resumable=True)
    shares = tuple(share for share, _ in parts(data))
    ended = end_of_text(tokenizer) is not None
    corpus = Corpus(tokenizer, *(reopened(folder / split, shares, known, ended) for split in SPLITS))
    report(_summary(folder, corpus, speed))
    return corpus


def open_store(folder: Path) -> Store:
    """A split as `prepare` has written it."""
    facts = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    tokens = mapped(folder / "tokens.bin", facts.pop("dtype"))
    starts = mapped(folder / "starts.bin", "<i8")
    sentences = folder / "sentences.bin"
    facts["parts"] = tuple(facts["parts"])
    return Store(
        tokens,
        starts,
        sentences=mapped(sentences, "<i8") if sentences.exists() else None,
        folder=folder,
        **facts,
    )


def reopened(folder: Path, shares: tuple[float, ...], marks: Marks | None, ended: bool) -> Store:
    return open_store(folder)._replace(shares=shares, marks=marks, ended=ended)


def _make(
    folder: Path,
    data: Data,
    made_of: str,
    tokenizer: Tokenizer,
    entries: int,
    by: str | None,
    report: Callable[[str], None],
) -> float:
    dtype = np.dtype("<u2" if entries <= 1 << 16 else "<u4")
    speed = write(folder, data, tokenizer, by, dtype, report)
    see_unchanged(data, made_of)
    note = folder / "progress.json"
    done = json.loads(note.read_text(encoding="utf-8"))
    if data.split == "tail":
        note.unlink()  # what follows cannot be done twice, so that a kill begins anew
        after = _cut(folder / "train", folder / "validation", data.holdout, tokenizer, dtype)
        done["bytes"] = {"train": done["bytes"]["train"] - after, "validation": after}
        done["parts"]["validation"] = [0]
    for split in SPLITS:
        begins = _begins(done["parts"][split], done["counts"][split])
        _measure(folder / split, done["bytes"][split], begins, entries, dtype)
    note.unlink(missing_ok=True)
    return speed


def _begins(firsts: list[int | None], end: int) -> list[int]:
    """Where parts begin; one that gave nothing begins, and ends, where the next does."""
    begins = []
    for first in reversed(firsts):
        end = end if first is None else first
        begins.append(end)
    return begins[::-1]


def _cut(whole: Path, tail: Path, share: float, tokenizer: Tokenizer, dtype: np.dtype) -> int:
    """Moves the last `share` of tokens from `whole` to `tail`; returns the bytes of their text."""
    tokens = np.memmap(whole / "tokens.bin", dtype, mode="r")
    cut, after = int(len(tokens) * (1 - share)), None
    for name in ("sentences.bin", "starts.bin"):
        if (whole / name).exists():
            begins = np.fromfile(whole / name, "<i8")
            after = np.union1d(cut, begins[begins > cut])
            (after - cut).tofile(tail / name)
            begins[begins < cut].tofile(whole / name)
    tokens[cut:].tofile(tail / "tokens.bin")
    texts = (tokenizer.decode(part.tolist()) for part in np.split(tokens, after)[1:])
    size = sum(len(text.encode()) for text in texts)
    os.truncate(whole / "tokens.bin", cut * dtype.itemsize)
    return size


def _measure(folder: Path, size: int, parts: list[int], entries: int, dtype: np.dtype) -> None:
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
        "parts": parts,
        "unigram_entropy": float(-(shares * np.log(shares)).sum()),
        "sha256": digest.hexdigest(),
    }
    (folder / "store.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _summary(folder: Path, corpus: Corpus, speed: float | None) -> str:
    splits = corpus.train, corpus.validation
    tokens, size = sum(len(split.tokens) for split in splits), sum(split.bytes for split in splits)
    return ", ".join(
        [
            f"{folder.name}: {' + '.join(f'{split.documents:,}' for split in splits)} documents",
            f"{' + '.join(f'{len(split.tokens):,}' for split in splits)} tokens",
            f"{size / tokens:.2f} bytes a token",
            "found in the cache" if speed is None else f"tokenized at {speed:.1f} MB/s",
        ]
    )
