"""A polite stop: the first signal asks, the second insists."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Of one process: `signal` is the number of the one that came."""

    def __init__(self):
        self.signal: int | None = None

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`; asked after each call of the step."""
        return self.signal is not None


class SharedStop(Stop):
    """Of several: JAX's preemption service tells all of a SIGTERM to one, and the step at which they stop."""

    def __init__(self, start: int):
        super().__init__()
        self._asked = start

    def reached(self, step: int) -> bool:
        # A call may do several steps, the service names one: asked of each, none is jumped over.
        points = range(self._asked + 1, step + 1)
        self._asked = step
        if any([multihost_utils.reached_preemption_sync_point(point) for point in points]):
            self.signal = signal.SIGTERM
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return self.signal is not None


@contextmanager
def stop_on_signals(start: int) -> Iterator[Stop]:
    """SIGINT and SIGTERM after step `start` reach the yielded Stop; a second one acts as it always did.

    Of several processes SIGTERM is left to JAX, which heeds it below Python, and SIGINT is passed on to it.
    """
    several = jax.process_count() > 1
    stop = SharedStop(start) if several else Stop()
    taken = (signal.SIGINT,) if several else SIGNALS
    before = {number: signal.getsignal(number) for number in taken}

    def ask(number, frame):
        restore()
        if several:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            stop.signal = number

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in taken:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
