"""Ctrl-C ends a command within two seconds, even while native code blocks the interpreter.

Python handles signals between bytecode instructions, and XLA's compiler or a tokenizer's training may block
for minutes. So every signal number also goes to a thread, through a pipe.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

STATUS = 128 + signal.SIGINT
PATIENCE = 1.0  # seconds in which the main thread may end by itself


class Graceful:
    """A part of a command that saves and stops by itself at the first interrupt, once it has `begun`."""

    def __init__(self, message: str, begun: Callable[[], bool]):
        self.message, self.begun, self.asked = message, begun, False


_signals: set[int] = set()  # that end this process promptly
_interrupted = threading.Event()
_graceful: list[Graceful] = []  # the innermost is the last
_cleanups: list[Callable[[], None]] = []  # run before the process ends at once


@contextmanager
def graceful(message: str, begun: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Leaves the first interrupt to the installed handler, and shows `message` at once."""
    part = Graceful(message, begun)
    _graceful.append(part)
    try:
        yield
    finally:
        _graceful.remove(part)


@contextmanager
def on_leave(cleanup: Callable[[], None]) -> Iterator[None]:
    """Calls `cleanup` if the process has to end at once, without its `finally` blocks."""
    _cleanups.append(cleanup)
    try:
        yield
    finally:
        _cleanups.remove(cleanup)


def is_prompt() -> bool:
    """Whether `end_promptly` was called, as in a process of a command."""
    return bool(_signals)


def end_promptly(number: int = signal.SIGINT) -> None:
    """Makes this signal end the process with status 128 + `number`, at most `PATIENCE` seconds late.

    Only a thread can do that while native code runs in the main thread. It skips Python's exit handlers, so
    files must survive it as they survive a kill.
    """
    if signal.getsignal(number) == signal.SIG_IGN:  # as the shell sets it for a job in the background
        return
    signal.signal(number, _raise)
    if not _signals:
        sys.unraisablehook = _show_unraisable
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=_watch, args=(reader,), name="interrupts", daemon=True).start()
    _signals.add(number)


@contextmanager
def at_once() -> Iterator[None]:
    """Makes an interrupt end the process without an exception, which native code prints at its import."""

    def end(number: int, frame: object) -> None:
        _leave_interrupted(number, "\n")

    before = {number: signal.getsignal(number) for number in _signals}
    ours = [number for number, handler in before.items() if handler is _raise]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


def interrupted() -> bool:
    """Whether an interrupt ends the process; native code may have turned it into another error."""
    return _interrupted.is_set()


def leave(status: int) -> None:
    """Ends the process without waiting for threads of native code, which may crash at Python's exit."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader is gone
            stream.flush()
    os._exit(status)


def _raise(number: int, frame: object) -> None:
    _interrupted.set()
    raise KeyboardInterrupt


def _show_unraisable(fault: "sys.UnraisableHookArgs") -> None:
    """Ignores an interrupt inside a callback, where nothing can catch it; the watching thread handles it."""
    if not issubclass(fault.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(fault)


def _watch(reader: int) -> None:
    while numbers := os.read(reader, 64):
        for number in numbers:
            if number in _signals:
                _interrupt(number)


def _interrupt(number: int) -> None:
    part = _graceful[-1] if _graceful else None
    if part is not None and part.begun() and not part.asked:
        part.asked = True
        print(f"lineage: {part.message}", file=sys.stderr, flush=True)
        return
    time.sleep(PATIENCE)
    _leave_interrupted(number)


def _leave_interrupted(number: int, before: str = "") -> None:
    print(f"{before}lineage: interrupted", file=sys.stderr, flush=True)
    for cleanup in _cleanups:
        with suppress(Exception):
            cleanup()
    leave(128 + number)
