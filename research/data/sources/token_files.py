"""Existing token files: .bin of nanoGPT and llm.c, and NumPy's .npy."""

import re
from pathlib import Path

import numpy as np

from research.data.sources.files import TOKENS, match
from research.errors import UsageError
from research.io.text import reading

HEADER = 256  # int32 at the start of llm.c's files: magic number, version, number of tokens, zeros
TYPES = {(20_240_520, 1): np.dtype("<u2"), (20_240_801, 7): np.dtype("<u4")}  # GPT-2's and Llama 3's tokens
RAW = np.dtype("<u2")  # nanoGPT's files have no header
LOOKED_AT = 1 << 16  # number of 16-bit words read to detect 32-bit tokens


def read(path: Path) -> np.ndarray:
    """The tokens of a file: unsigned or signed integers (tokens,), mapped into memory.

    Raises UsageError for a file that cannot be read, is truncated, or holds anything else.
    """
    with reading(path):
        tokens = _array(path) if path.suffix == ".npy" else _binary(path)
    if tokens.ndim != 1 or tokens.dtype.kind not in "ui":
        raise UsageError(f"{path}: holds {tokens.dtype} {tokens.shape}; expected one row of integers")
    if not len(tokens):
        raise UsageError(f"{path}: has no tokens")
    return tokens


def characters_beside(source: str) -> Path | None:
    """nanoGPT's table of characters, meta.pkl, in the folder of `tokens:GLOB`, the first of several that +
    joins; None where there is none.
    """
    scheme, _, name = re.split(r"\s*\+\s*tokens:", source)[0].partition(":")
    table = match(name, TOKENS)[0].with_name("meta.pkl") if scheme == "tokens" else None
    return table if table is not None and table.exists() else None


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except OSError:
        raise
    except Exception as fault:  # NumPy parses the header of a .npy file as Python
        raise UsageError(f"{path}: no NumPy file that can be read: {fault}") from None


def _binary(path: Path) -> np.ndarray:
    size = path.stat().st_size
    header = np.fromfile(path, "<i4", HEADER)
    magic, version, count = (*header[:3].tolist(), 0, 0, 0)[:3]
    begin, dtype = 0, RAW
    if magic in {known for known, _ in TYPES}:
        if len(header) < HEADER:
            raise UsageError(f"{path}: {size:,} bytes; expected {4 * HEADER:,} or more, llm.c's header")
        if (magic, version) not in TYPES:
            raise UsageError(f"{path}: version {version} of llm.c's tokens is not known")
        begin, dtype = header.nbytes, TYPES[magic, version]
        if size != begin + count * dtype.itemsize:
            raise UsageError(
                f"{path}: {size:,} bytes; expected {begin + count * dtype.itemsize:,}, by its header"
            )
    elif size % dtype.itemsize:
        raise UsageError(f"{path}: {size:,} bytes; expected two for each token, or llm.c's header")
    elif _has_32_bits(np.fromfile(path, RAW, LOOKED_AT), size):
        raise UsageError(f"{path}: tokens of 32 bits; expected 16, or a .npy file, or llm.c's header")
    return np.memmap(path, dtype, "r", begin) if size > begin else np.empty(0, dtype)


def _has_32_bits(words: np.ndarray, size: int) -> bool:
    """Whether 16-bit words look like halves of 32-bit tokens: every second word is below 4, as in
    vocabularies of up to 262,144 tokens, and the others vary.
    """
    low, high = words[0::2], words[1::2]
    return size % 4 == 0 and len(high) >= 8 and bool((high < 4).all() and np.unique(low[low >= 4]).size > 1)
