"""Stopping on signals: the first lets the run save and end, the second ends it at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.experimental import multihost_utils

from research.training.stopping.interrupts import graceful

MESSAGE = "stopping: finishes the current computation and saves; a second interrupt ends it at once"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last from a terminal that closes


class Stop:
    """A request to stop a run of one process; `signal` is the number of the signal received."""

    def __init__(self):
        self.signal: int | None = None
        self.begun = False  # a step was made, so there is something to save

    def reached(self, step: int) -> bool:
        """Whether to stop after `step`; called after each call of the step."""
        self.begun = True
        return self.signal is not None


class SharedStop(Stop):
    """A request to stop a run of several processes.

    When one process receives SIGTERM, JAX's preemption service gives all of them the step at which to stop.
    """

    def __init__(self, start: int):
        super().__init__()
        self._checked = start

    def reached(self, step: int) -> bool:
        # A call may do several steps and the service names one of them, so check each step.
        self.begun = True
        points = range(self._checked + 1, step + 1)
        self._checked = step
        if any([multihost_utils.reached_preemption_sync_point(point) for point in points]):
            self.signal = signal.SIGTERM
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return self.signal is not None


@contextmanager
def stop_on_signals(start: int) -> Iterator[Stop]:
    """Records SIGINT, SIGTERM and SIGHUP in the yielded Stop; a second signal has its usual effect.

    Before the first step, when there is nothing to save, SIGINT has its usual effect at once. With several
    processes, JAX handles SIGTERM outside Python, and the others are passed on as SIGTERM. `start` is the
    step from which the run continues. Outside the main thread, which alone receives signals, none is
    recorded.
    """
    several = jax.process_count() > 1
    stop = SharedStop(start) if several else Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if several:
        del before[signal.SIGTERM]
    if before[signal.SIGHUP] == signal.SIG_IGN:  # set by nohup
        del before[signal.SIGHUP]

    def request(number, frame):
        restore()
        if number == signal.SIGHUP:  # a closing terminal may send it twice
            signal.signal(number, signal.SIG_IGN)
        if not stop.begun and callable(before[number]):  # to the handler that was there before
            os.kill(os.getpid(), number)
            return
        if several:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            stop.signal = number

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, request)
    try:
        with graceful(MESSAGE, lambda: stop.begun):
            yield stop
    finally:
        restore()
