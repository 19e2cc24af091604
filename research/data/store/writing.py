"""Tokens on their way to disk: files that only grow, and a note of how far they are right.

A process that is killed leaves both; the next one cuts the files back to the note and goes on.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.sources.documents import parts, read
from research.data.store.encoding import Encoded, encode, pieces
from research.data.store.progress import telling

SAVE_EVERY = 5.0  # seconds of work that a kill can cost

SPLITS = ("train", "validation")


def write(
    folder: Path,
    data: Data,
    tokenizer: Tokenizer,
    by: str | None,
    dtype: np.dtype,
    report: Callable[[str], None],
) -> float:
    """Every document's tokens, by split, with where documents begin, and sentences, found `by`; returns MB/s.

    FOLDER/SPLIT has tokens.bin and, int64, starts.bin and sentences.bin. `progress.json` beside them tells
    the bytes of text and the first token of each part, by split.
    """
    note = folder / "progress.json"
    done = json.loads(note.read_text()) if note.exists() else _nothing(len(parts(data)))
    begun = saved = time.monotonic()
    before = sum(done["bytes"].values())
    if before:
        report(f"continuing after {before / 1e6:,.1f} MB")
    with ExitStack() as stack:
        files = _open(stack, folder, done["sizes"], by)
        left = islice(pieces(read(data), by), done["pieces"], None)
        tell = stack.enter_context(telling(report, before))
        for batch in encode(left, tokenizer):
            _append(files, done, batch, dtype)
            now = time.monotonic()
            if now - saved > SAVE_EVERY:
                _save(note, files, done)
                saved = now
            tell(done["documents"], sum(done["bytes"].values()))
        _save(note, files, done)
    return (sum(done["bytes"].values()) - before) / 1e6 / (time.monotonic() - begun)


def _nothing(parts: int) -> dict:
    return {
        "pieces": 0,
        "documents": 0,
        "bytes": dict.fromkeys(SPLITS, 0),
        "parts": {split: [None] * parts for split in SPLITS},
        "counts": dict.fromkeys(SPLITS, 0),  # of tokens
        "sizes": {},  # of files, in bytes
    }


def _open(stack: ExitStack, folder: Path, sizes: dict[str, int], by: str | None) -> dict:
    """SPLIT/KIND → the file, cut back to its size and at its end."""
    files = {}
    for split in SPLITS:
        (folder / split).mkdir(exist_ok=True)
        for kind in ("tokens", "starts", "sentences") if by else ("tokens", "starts"):
            name = f"{split}/{kind}"
            path = folder / f"{name}.bin"
            files[name] = stack.enter_context(path.open("ab"))
            files[name].truncate(sizes.get(name, 0))
    return files


def _append(files: dict, done: dict, batch: Encoded, dtype: np.dtype) -> None:
    counts = np.diff(batch.ends, prepend=0)  # of tokens, by text
    texts = np.array([len(piece.texts) for piece in batch.pieces], np.int64)
    begin = np.cumsum(texts) - texts  # of each piece, among all texts
    first, opens = np.zeros(len(counts), bool), counts > 0
    first[begin] = [piece.first for piece in batch.pieces]
    opens[begin] &= np.array([piece.opens for piece in batch.pieces], bool)
    validates = np.array([piece.document.split == "validation" for piece in batch.pieces], bool)
    validates = np.repeat(validates, texts)
    for split in SPLITS:
        here = validates == (split == "validation")
        begins = done["counts"][split] + np.cumsum(counts[here]) - counts[here]
        files[f"{split}/tokens"].write(batch.ids[np.repeat(here, counts)].astype(dtype).tobytes())
        files[f"{split}/starts"].write(begins[first[here]].astype("<i8").tobytes())
        if f"{split}/sentences" in files:
            files[f"{split}/sentences"].write(begins[opens[here]].astype("<i8").tobytes())
        chosen = [piece for piece in batch.pieces if piece.first and piece.document.split == split]
        done["bytes"][split] += sum(len(piece.document.text.encode()) for piece in chosen)
        for piece, begin in zip(chosen, begins[first[here]].tolist(), strict=True):
            if done["parts"][split][piece.document.part] is None:
                done["parts"][split][piece.document.part] = begin
        done["counts"][split] += int(counts[here].sum())
    done["pieces"] += len(batch.pieces)
    done["documents"] += int(first.sum())


def _save(note: Path, files: dict, done: dict) -> None:
    """The note is renamed into place once what it tells of is on disk."""
    for name, file in files.items():
        file.flush()
        os.fsync(file.fileno())
        done["sizes"][name] = file.tell()
    new = note.with_suffix(".new")
    new.write_text(json.dumps(done))
    new.rename(note)
