"""Copies existing tokens into a store.

They are copied instead of read in place, so that a run can continue even if the files change.
"""

import json
import time
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.sources.documents import token_files
from research.data.store.writing import PROGRESS, SPLITS
from research.data.tokenizers.tokenizer import end_of_text, entries
from research.errors import UsageError
from research.io.activity import activity

CHUNK = 1 << 24  # tokens copied at once


def copy(folder: Path, data: Data, tokenizer: Tokenizer, dtype: np.dtype) -> float:
    """Writes the files of `writing.write`, but no sentences; returns the speed in MB/s.

    Raises UsageError for a token that the tokenizer does not have.
    """
    began, written, size = time.monotonic(), 0, entries(tokenizer)
    firsts, counts = {}, {}
    with activity("copying tokens") as show:
        for split in SPLITS:
            (folder / split).mkdir(exist_ok=True)
            path = folder / split / "tokens.bin"
            firsts[split], counts[split] = [], 0
            with open(path, "wb") as file:
                for part in token_files(data, split):
                    firsts[split].append(counts[split])
                    for name, tokens in part:
                        for begin in range(0, len(tokens), CHUNK):
                            chunk = tokens[begin : begin + CHUNK]
                            _check(chunk, begin, name, size, data.tokenizer)
                            file.write(chunk.astype(dtype).tobytes())
                            show(f"{(written + file.tell()) // dtype.itemsize:,}")
                        counts[split] += len(tokens)
                written += file.tell()
            starts = _starts(path, dtype, end_of_text(tokenizer), firsts[split])
            starts.tofile(folder / split / "starts.bin")
    # As for texts, whose bytes are counted while reading.
    done = {"bytes": dict.fromkeys(SPLITS, 0), "parts": firsts, "counts": counts}
    (folder / PROGRESS).write_text(json.dumps(done), encoding="utf-8")
    return written / 1e6 / (time.monotonic() - began)


def _check(tokens: np.ndarray, begin: int, path: Path, entries: int, tokenizer: str) -> None:
    wrong = (tokens < 0) | (tokens >= entries)
    if wrong.any():
        place = int(wrong.argmax())
        raise UsageError(
            f"{path}: token {tokens[place]} at {begin + place}; "
            f"expected all below {entries}, as data.tokenizer={tokenizer} has them"
        )


def _starts(path: Path, dtype: np.dtype, ending: int | None, sources: list[int]) -> np.ndarray:
    """int64 (documents,): first token of each document; a source or an <|endoftext|> begins one.

    An <|endoftext|> at the start of a source, as in llm.c's files, ends no document.
    """
    found = [np.array(sources, "<i8")]
    if ending is None or not sources:
        return found[0]
    tokens = np.memmap(path, dtype, "r")
    for begin in range(0, len(tokens) - 1, CHUNK):
        here = tokens[begin : begin + CHUNK + 1]
        found.append(begin + 1 + np.flatnonzero((here[:-1] == ending) & (here[1:] != ending)))
    leading = [first + 1 for first in sources if tokens[first] == ending]
    return np.setdiff1d(np.concatenate(found), leading)
