"""Arrays on disk, mapped into memory."""

import mmap
from pathlib import Path

import numpy as np


def mapped(path: Path, dtype: np.dtype | str) -> np.ndarray:
    """The array in a file, read-only; the file must not be empty.

    Examples are read in random order, so read-ahead is turned off.
    """
    with open(path, "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    pages.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(pages, dtype)
