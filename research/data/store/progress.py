"""Progress of a preparation: a changing line on a terminal, occasional lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from research.io.activity import FIRST, THEN, activity

Update = Callable[[int, int], None]  # (documents, bytes of text) so far


@contextmanager
def show_progress(report: Callable[[str], None], before: int) -> Iterator[Update]:
    """Yield a function that shows the progress; `before` counts bytes finished by an earlier process.

    A terminal shows it on standard error, because standard output is for results.
    """
    start = time.monotonic()

    def describe(documents: int, size: int) -> str:
        speed = (size - before) / 1e6 / max(time.monotonic() - start, 1e-9)
        return f"{documents:,} documents, {size / 1e6:,.0f} MB at {speed:.1f} MB/s"

    if sys.stderr.isatty():
        with activity("tokenizing") as show:
            yield lambda documents, size: show(describe(documents, size))
        return
    due = start + FIRST

    def report_line(documents: int, size: int) -> None:
        nonlocal due
        if time.monotonic() > due:
            due = time.monotonic() + THEN
            report(f"tokenizing, {describe(documents, size)}")

    yield report_line
