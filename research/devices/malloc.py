"""What the C library does with memory that is freed."""

import ctypes

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # glibc's numbers


def keep_freed_memory() -> bool:
    """Tells glibc to keep it; says whether it does.

    Otherwise the buffers of a step go back to the system, and are mapped and cleared anew at the next one: a
    quarter of the time of a small model's step. One heap for all threads, since other heaps give large
    buffers back in any case: so it is to be said before threads start.
    """
    libc = _libc()
    return libc is not None and all(
        libc.mallopt(*setting) for setting in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, -1))
    )


def release_free_memory() -> None:
    """Gives the system what has been freed until now, kept or not: after what is done once and takes much.

    So after compiling, after a save, and after a first step: what that leaves for good may lie at the end of
    where its buffers were, and a glibc that finds the next ones no room there takes as much anew.
    """
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    """glibc, or None where the C library is another one."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError):
        return None
