"""What the C library does with memory that is freed."""

import ctypes

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # glibc's numbers


def keep_freed() -> bool:
    """Tells glibc to keep it; says whether it does.

    Otherwise the buffers of a step go back to the system, and are mapped and cleared anew at the next one: a
    quarter of the time of a small model's step. One heap for all threads, since other heaps give large
    buffers back in any case: so it is to be said before threads start.

    The price is room: a buffer's place may be too small by a few bytes at the next step, when something lies
    beside it, and up to two more are found for it. With several steps a call there are fewer next times.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(*setting) for setting in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, -1)))
