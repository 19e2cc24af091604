"""The files of a token store: both splits, with store.json beside the tokens."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.sources.documents import check_unchanged, note_maker
from research.data.store.copying import copy
from research.data.store.splits import part_starts, split_head, split_tail, text_size
from research.data.store.writing import PROGRESS, SPLITS, write
from research.data.tokenizers.tokenizer import entries, entry_bytes
from research.errors import UsageError
from research.io.activity import activity

CHUNK = 1 << 24  # tokens counted and hashed at once


def build(
    folder: Path,
    data: Data,
    source_hash: str,
    tokenizer: Tokenizer,
    sentence_rule: str | None,
    copies: bool,
    report: Callable[[str], None],
) -> float:
    """Writes both splits into `folder`, tokenized or (if the source holds tokens) copied; returns MB/s.

    Raises UsageError if the source changes meanwhile, and for a split without tokens to predict.
    """
    dtype = np.dtype("<u2" if entries(tokenizer) <= 1 << 16 else "<u4")
    if copies:
        speed = copy(folder, data, tokenizer, dtype)
    else:
        speed = write(folder, data, tokenizer, sentence_rule, dtype, report)
    check_unchanged(data, source_hash)
    note_maker(folder, data)
    with activity("counting tokens"):
        _finish(folder, data, tokenizer, copies, dtype)
    return speed


def _finish(folder: Path, data: Data, tokenizer: Tokenizer, copies: bool, dtype: np.dtype) -> None:
    """Splits off the tail or the head if the declaration asks for it, and writes store.json of each split.

    The text size of copied tokens is computed from their entries.
    """
    sizes = entry_bytes(tokenizer) if copies else None
    progress_file = folder / PROGRESS
    done = json.loads(progress_file.read_text(encoding="utf-8"))
    skipped = 0
    if data.splits_tokens:
        progress_file.unlink()  # the split cannot be repeated: after a kill, start from the beginning
        train, held_out = folder / "train", folder / "validation"
        measure = partial(text_size, tokenizer) if sizes is None else lambda documents: 0
        if data.split == "tail":
            size = split_tail(train, held_out, data.holdout, measure, dtype)
        else:
            size, skipped = split_head(train, held_out, data.head, measure, dtype), data.head
        done["bytes"] = {"train": done["bytes"]["train"] - size, "validation": size}
        done["parts"]["validation"] = [0]
    for split in SPLITS:
        begins = part_starts(done["parts"][split], done["counts"][split])
        skip = skipped if split == "train" else 0
        size = done["bytes"][split] if sizes is None else sizes
        _measure(folder / split, size, begins, entries(tokenizer), dtype, skip)
    progress_file.unlink(missing_ok=True)


def _measure(
    folder: Path,
    size: int | np.ndarray,
    parts: list[int],
    entries: int,
    dtype: np.dtype,
    skipped: int = 0,
) -> None:
    """Write store.json beside the tokens: type, sizes, unigram entropy and hash, without `skipped` ones.

    `size` is bytes of the text, or of each entry.
    """
    file = folder / "tokens.bin"
    if file.stat().st_size < 2 * dtype.itemsize:
        raise UsageError(f"data.holdout: leaves {folder.name} fewer than two tokens, and none to predict")
    tokens = np.memmap(file, dtype, mode="r")[skipped:]
    counts, digest = np.zeros(entries, np.int64), hashlib.sha256()
    for begin in range(0, len(tokens), CHUNK):
        chunk = tokens[begin : begin + CHUNK]
        counts += np.bincount(chunk, minlength=entries)
        digest.update(chunk)
    shares = counts[counts > 0] / len(tokens)
    facts = {
        "dtype": dtype.str,
        "bytes": size if isinstance(size, int) else int(counts @ size),
        "parts": parts,
        "unigram_entropy": float(-(shares * np.log(shares)).sum()),
        "sha256": digest.hexdigest(),
    } | ({"skipped": skipped} if skipped else {})
    (folder / "store.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
