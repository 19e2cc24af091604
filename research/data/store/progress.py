"""Progress of a preparation: a bar on a terminal, a line every 15 s in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REPORT_EVERY = 15.0  # seconds between lines

Update = Callable[[int, int], None]  # (documents, bytes of text) so far


@contextmanager
def show_progress(report: Callable[[str], None], before: int) -> Iterator[Update]:
    """Yield a function that shows the progress; `before` is the bytes that an earlier process has finished.

    The bar goes to standard error, because standard output is for results.
    """
    start = time.monotonic()

    def describe(documents: int, size: int) -> str:
        speed = (size - before) / 1e6 / max(time.monotonic() - start, 1e-9)
        return f"{documents:,} documents, {size / 1e6:,.0f} MB at {speed:.1f} MB/s"

    if sys.stderr.isatty():
        with _bar() as update:
            yield lambda documents, size: update(describe(documents, size))
        return
    last = start

    def report_line(documents: int, size: int) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_EVERY:
            last = time.monotonic()
            report(describe(documents, size))

    yield report_line


@contextmanager
def _bar() -> Iterator[Callable[[str], None]]:
    """A bar without a total, because the size of the text in a compressed source is not known in advance."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("tokenizing"), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, state="")
        yield lambda state: progress.update(task, state=state)
