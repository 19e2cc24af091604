"""Splits a store's tokens inside a document: the tail or the head is for validation."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from research.errors import UsageError


def part_starts(firsts: list[int | None], end: int) -> list[int]:
    """First token of each source of a mixture; a source without tokens starts where the next one does."""
    starts = []
    for first in reversed(firsts):
        end = end if first is None else first
        starts.append(end)
    return starts[::-1]


Measure = Callable[[list[np.ndarray]], int]  # documents' tokens → bytes of their text


def split_tail(whole: Path, tail: Path, share: float, measure: Measure, dtype: np.dtype) -> int:
    """Move the last `share` of tokens from `whole` to `tail`; return the bytes of their text."""
    tokens = np.memmap(whole / "tokens.bin", dtype, mode="r")
    cut, after = int(len(tokens) * (1 - share)), None
    for name in ("sentences.bin", "starts.bin"):
        if (whole / name).exists():
            begins = np.fromfile(whole / name, "<i8")
            after = np.union1d(cut, begins[begins > cut])
            (after - cut).tofile(tail / name)
            begins[begins < cut].tofile(whole / name)
    tokens[cut:].tofile(tail / "tokens.bin")
    size = measure(np.split(tokens, after)[1:])
    os.truncate(whole / "tokens.bin", cut * dtype.itemsize)
    return size


def split_head(whole: Path, head: Path, cut: int, measure: Measure, dtype: np.dtype) -> int:
    """Copy the first `cut` tokens from `whole` to `head`; return the bytes of their text.

    They are skipped in `whole`, since cutting them out would rewrite all its tokens.
    """
    tokens = np.memmap(whole / "tokens.bin", dtype, mode="r")
    if cut > len(tokens) - 2:
        raise UsageError(
            f"data.head={cut}: the source has {len(tokens)} tokens; expected two or more to train on"
        )
    for name in ("sentences.bin", "starts.bin"):
        if (whole / name).exists():
            begins = np.fromfile(whole / name, "<i8")
            begins[begins < cut].tofile(head / name)
            (np.union1d(cut, begins[begins > cut]) - cut).tofile(whole / name)
    tokens[:cut].tofile(head / "tokens.bin")
    begins = np.fromfile(head / "starts.bin", "<i8")
    return measure(np.split(tokens[:cut], begins[1:]))


def text_size(tokenizer: Tokenizer, parts: list[np.ndarray]) -> int:
    """Bytes of the text of tokens."""
    return sum(len(tokenizer.decode(part.tolist()).encode()) for part in parts)
