"""Splits a store's tokens inside documents: the tail of each source, or the head, is for validation."""

import os
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from research.config import Data
from research.errors import UsageError

CHUNK = 1 << 24  # tokens moved at once

Ranges = Sequence[tuple[int, int]]  # of tokens: the first, and one after the last


def part_starts(firsts: list[int | None], end: int) -> list[int]:
    """First token of each source of a mixture; a source without tokens starts where the next one does."""
    starts = []
    for first in reversed(firsts):
        end = end if first is None else first
        starts.append(end)
    return starts[::-1]


def held_out(data: Data, parts: list[int], count: int) -> Ranges:
    """The tokens that validate, of `count`; `parts` are the first tokens of the sources."""
    if data.split == "tail":
        share = 1 - data.holdout
        return [(begin + int((end - begin) * share), end) for begin, end in pairwise([*parts, count])]
    if data.head > count - 2:
        raise UsageError(
            f"data.head={data.head}: the source has {count} tokens; expected two or more to train on"
        )
    return [(0, data.head)]


def count_before(place: int, ranges: Ranges) -> int:
    """The number of tokens in `ranges` before a place."""
    return sum(min(end, place) - min(begin, place) for begin, end in ranges)


def split_tokens(ranges: Ranges, train: Path, validation: Path, dtype: np.dtype) -> int:
    """Moves `ranges` from one split to the other, with the starts of their documents and sentences.

    Returns how many tokens to skip in the training file: a head stays there, since cutting it out would
    rewrite all tokens.
    """
    tokens = np.memmap(train / "tokens.bin", dtype, "r+")
    edges = [0, *chain.from_iterable(ranges), len(tokens)]
    kept = [(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if begin < end]
    for name in ("sentences.bin", "starts.bin"):
        if (train / name).exists():
            begins = np.fromfile(train / name, "<i8")
            for folder, some in ((train, kept), (validation, ranges)):
                _starts_within(some, begins).tofile(folder / name)
    with open(validation / "tokens.bin", "wb") as file:
        for begin, end in ranges:
            tokens[begin:end].tofile(file)
    skipped = size = kept[0][0] if kept else 0
    for begin, end in kept:
        for here in range(begin, end, CHUNK) if begin > size else ():
            chunk = tokens[here : min(here + CHUNK, end)]
            tokens[size + here - begin :][: len(chunk)] = chunk
        size += end - begin
    os.truncate(train / "tokens.bin", size * dtype.itemsize)
    return skipped


def _starts_within(ranges: Ranges, begins: np.ndarray) -> np.ndarray:
    """The `begins` within `ranges`, counted along them. A range begins a document even inside of one."""
    found, size = [np.zeros(0, "<i8")], 0
    for begin, end in ranges:
        if begin < end:
            inside = begins[(begins > begin) & (begins < end)]
            found.append(np.append(begin, inside) - begin + size)
            size += end - begin
    return np.concatenate(found)
