"""Arrays on disk, as memory."""

import mmap
from pathlib import Path

import numpy as np


def mapped(path: Path, dtype: np.dtype | str) -> np.ndarray:
    """The numbers in a file, read-only; it must not be empty.

    Examples lie far apart. Told so, the system reads a page where it would read hundreds ahead.
    """
    with open(path, "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    pages.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(pages, dtype)
