"""Settings of the C library's allocator for freed memory."""

import ctypes

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # glibc's numbers


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory; returns whether it does. Call it before threads start.

    Otherwise a step's buffers return to the OS and are mapped and cleared again at the next step, which costs
    a quarter of a small model's step. All threads share one heap, because other heaps always return large
    buffers.
    """
    libc = _libc()
    return libc is not None and all(
        libc.mallopt(*setting) for setting in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, -1))
    )


def release_free_memory() -> None:
    """Return free heap pages to the OS (`malloc_trim`). Call it after one-off peaks: compilation, a save, the
    first step.

    Arrays that outlive the first step may lie between its freed buffers, so that the next step's buffers do
    not fit there and as much memory is allocated again.
    """
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    """glibc, or None with another C library."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError):
        return None
