"""How far a preparation is: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TELL_EVERY = 15.0  # seconds between lines

Tell = Callable[[int, int], None]  # documents and bytes of text so far


@contextmanager
def telling(report: Callable[[str], None], before: int) -> Iterator[Tell]:
    """`before` is what a preparation that goes on had done of its bytes.

    The bar is on standard error, so that standard output keeps to results.
    """
    begun = time.monotonic()

    def told(documents: int, size: int) -> str:
        speed = (size - before) / 1e6 / max(time.monotonic() - begun, 1e-9)
        return f"{documents:,} documents, {size / 1e6:,.0f} MB at {speed:.1f} MB/s"

    if sys.stderr.isatty():
        with _bar() as update:
            yield lambda documents, size: update(told(documents, size))
        return
    last = begun

    def line(documents: int, size: int) -> None:
        nonlocal last
        if time.monotonic() - last > TELL_EVERY:
            last = time.monotonic()
            report(told(documents, size))

    yield line


@contextmanager
def _bar() -> Iterator[Callable[[str], None]]:
    """Without an end in sight, for how much text a compressed source holds is known once it is read."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("tokenizing"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, told="")
        yield lambda told: progress.update(task, told=told)
