"""A polite stop: the first signal asks, the second insists."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Truthy once a signal has come; `signal` is its number."""

    def __init__(self):
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """SIGINT and SIGTERM set the yielded Stop; a second one acts as it always did."""
    stop = Stop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def ask(number, frame):
        stop.signal = number
        restore()

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in numbers:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
