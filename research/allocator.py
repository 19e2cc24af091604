"""What the C library does with memory that is freed."""

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's numbers


def keep_freed() -> bool:
    """Tells glibc to keep it; says whether it does.

    Otherwise the buffers of a step go back to the system, and are mapped and cleared anew at the next one:
    a quarter of the time of a small model's step. Those of over 64 MB still do.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, 2**31 - 1))
