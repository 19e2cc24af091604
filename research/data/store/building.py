"""The files of a token store: both splits, with store.json beside the tokens."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.sources.documents import check_unchanged, holds_tokens, note_maker
from research.data.store.copying import copy
from research.data.store.splits import count_before, held_out, part_starts, split_tokens
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
    report: Callable[[str], None],
) -> float:
    """Writes both splits into `folder`, tokenized or (if the source holds tokens) copied; returns MB/s.

    Raises UsageError if the source changes meanwhile, and for a split without tokens to predict.
    """
    dtype = np.dtype("<u2" if entries(tokenizer) <= 1 << 16 else "<u4")
    if holds_tokens(data):
        speed = copy(folder, data, tokenizer, dtype)
    else:
        speed = write(folder, data, tokenizer, sentence_rule, dtype, report)
    check_unchanged(data, source_hash)
    note_maker(folder, data)
    with activity("counting tokens"):
        _finish(folder, data, tokenizer, dtype)
    return speed


def _finish(folder: Path, data: Data, tokenizer: Tokenizer, dtype: np.dtype) -> None:
    """Splits off the tail or the head if the declaration asks for it, and writes store.json of each split."""
    progress_file = folder / PROGRESS
    done = json.loads(progress_file.read_text(encoding="utf-8"))
    parts = {split: part_starts(done["parts"][split], done["counts"][split]) for split in SPLITS}
    skipped, sizes, copies = {}, done["bytes"], holds_tokens(data)
    if data.splits_tokens:
        progress_file.unlink()  # the split cannot be repeated: after a kill, start from the beginning
        train, validation = (folder / split for split in SPLITS)
        ranges = held_out(data, parts["train"], done["counts"]["train"])
        skipped["train"] = split_tokens(ranges, train, validation, dtype)
        parts["validation"] = [count_before(place, ranges) for place in parts["train"]]
        parts["train"] = [all - held for all, held in zip(parts["train"], parts["validation"], strict=True)]
        if not copies:
            sizes["validation"] = _text_size(validation, tokenizer, dtype)
            sizes["train"] -= sizes["validation"]
    if copies:  # nobody has counted the bytes of their text
        sizes = dict.fromkeys(SPLITS, entry_bytes(tokenizer))
    for split in SPLITS:
        _measure(folder / split, sizes[split], parts[split], entries(tokenizer), dtype, skipped.get(split, 0))
    progress_file.unlink(missing_ok=True)


def _text_size(folder: Path, tokenizer: Tokenizer, dtype: np.dtype) -> int:
    """Bytes of the text of a split's tokens."""
    tokens, starts = np.fromfile(folder / "tokens.bin", dtype), np.fromfile(folder / "starts.bin", "<i8")
    return sum(len(tokenizer.decode(part.tolist()).encode()) for part in np.split(tokens, starts[1:]))


def _measure(
    folder: Path, size: int | np.ndarray, parts: list[int], entries: int, dtype: np.dtype, skipped: int
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
        digest.update(chunk.data)
    shares = counts[counts > 0] / len(tokens)
    facts = {
        "dtype": dtype.str,
        "bytes": size if isinstance(size, int) else int(counts @ size),
        "parts": parts,
        "unigram_entropy": float(-(shares * np.log(shares)).sum()),
        "sha256": digest.hexdigest(),
        "skipped": skipped,
    }
    (folder / "store.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
