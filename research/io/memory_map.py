"""Arrays on disk, mapped into memory."""

import mmap
from pathlib import Path

import numpy as np


def mapped(path: Path, dtype: np.dtype | str) -> np.ndarray:
    """Maps the array in a non-empty file, read-only.

    Read-ahead is off, because examples are read in random order.
    """
    with open(path, "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    pages.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(pages, dtype)
