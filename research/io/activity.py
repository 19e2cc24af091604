"""Shows what a command is doing, in a line on standard error, while it has nothing else to print.

On a terminal the line counts seconds in place; in a log it appears after two seconds, then at growing
intervals. Nothing is shown until `show` is called, as the command line does, or within `shown`, as when a
notebook trains.
"""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

T = TypeVar("T")

TICK = 0.2  # seconds between checks of the clock
FIRST, THEN = 2.0, 15.0  # seconds until a log's first line about an activity, and the minimum between lines
LONGEST = 600.0  # seconds between two lines of a log; they come at every tenth of the time so far
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

Detail = Callable[[str], None]
Display = Callable[[str], None]  # shows a text in place of the one before; "" removes it

_terminal = threading.RLock()  # held while a line is written
_shown = False
_displays: list[Display] = []  # owners of the terminal, such as a progress bar; the last one is used
_running: list["_Activity"] = []  # the innermost is last; only it is shown


def show() -> None:
    """Shows the activities of this process from now on."""
    global _shown
    _shown = True


@contextmanager
def shown() -> Iterator[None]:
    """Shows the activities of this process until the block ends."""
    global _shown
    before, _shown = _shown, True
    try:
        yield
    finally:
        _shown = before


def say(text: str) -> None:
    """Prints a line of results, replacing the activity line."""
    with _terminal, outliving(sys.stdout):
        if _running and _shown and not _displays and sys.stderr.isatty():
            _line("")
        print(text, flush=True)


@contextmanager
def outliving(stream: TextIO) -> Iterator[None]:
    """Drops the output from now on if it cannot be written: work goes on without its reader.

    A terminal may close, `head` may have seen enough, and the disk under a log may be full.
    """
    try:
        yield
    except OSError as fault:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        if stream is not sys.stderr:
            with outliving(sys.stderr):
                print(f"lineage: standard output: {fault.strerror}; the rest is not shown", file=sys.stderr)


@contextmanager
def displayed_by(display: Display) -> Iterator[None]:
    """Shows activities through `display` instead of on their own line."""
    _displays.append(display)
    try:
        yield
    finally:
        _displays.remove(display)


@contextmanager
def activity(what: str) -> Iterator[Detail]:
    """Shows `what`, such as "compiling", until the block ends; yields a function that sets details to add."""
    running = _Activity(what)
    _running.append(running)
    if _shown:
        running.thread.start()
    try:
        yield running.set_detail
    finally:
        _running.remove(running)
        running.end()


def count(items: Iterable[T], total: int, show: Detail) -> Iterator[T]:
    """Yields `items`, showing their number as the detail of an activity."""
    for number, item in enumerate(items, 1):
        show(f"{number:,} of {total:,}")
        yield item


class _Activity:
    def __init__(self, what: str):
        self.what, self.detail = what, ""
        self.began = time.monotonic()
        self.over = threading.Event()
        self.display = _displays[-1] if _displays else _line if sys.stderr.isatty() else None
        self.thread = threading.Thread(target=self._run, name="activity", daemon=True)

    def set_detail(self, text: str) -> None:
        self.detail = text

    def end(self) -> None:
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()

    def _run(self) -> None:
        due, ticks = FIRST, 0
        while not self.over.wait(TICK):
            seconds = time.monotonic() - self.began
            text = f"{self.what}{self.detail and ', '}{self.detail} … {seconds:.0f} s"
            if not _running or _running[-1] is not self:
                continue
            if self.display is not None:
                self.display(f"{FRAMES[ticks % len(FRAMES)]} {text}")
                ticks += 1
            elif seconds >= due:
                due = seconds + min(max(THEN, seconds / 10), LONGEST)
                with outliving(sys.stderr):
                    print(text, file=sys.stderr, flush=True)
        if ticks and self.display is not None:
            self.display("")


def _line(text: str) -> None:
    """One line of the terminal, which the next output overwrites."""
    text = text[: shutil.get_terminal_size().columns - 1]
    with _terminal, outliving(sys.stderr):
        print(f"\r\x1b[2K{text}\r", end="", file=sys.stderr, flush=True)
