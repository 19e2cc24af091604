"""What the C library does with memory that is freed."""

import ctypes

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # glibc's numbers


def keep_freed() -> bool:
    """Tells glibc to keep it; says whether it does.

    Otherwise the buffers of a step go back to the system, and are mapped and cleared anew at the next one: a
    quarter of the time of a small model's step. One heap for all threads, since other heaps give large
    buffers back in any case: so it is to be said before threads start.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(*setting) for setting in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, -1)))
