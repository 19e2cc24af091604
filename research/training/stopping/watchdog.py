"""A watch on steps that do not end: a collective whose partner died, a reader whose disk went away."""

import faulthandler
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jax import Array

STATUS = 75  # EX_TEMPFAIL: try again
KEPT = 256  # calls whose end is awaited; when a newer one has ended, so have the older


class Watchdog:
    """Ends the process when nothing has finished for `times` the usual, and for at least `minutes`.

    Awake from the first finished call of the step on, so that compiling is not watched; at `rest` while the
    run evaluates or saves, which may take any time.
    """

    def __init__(self, directory: Path, times: float, minutes: float):
        self._log, self._times, self._least = directory / "hang.log", times, 60 * minutes
        self._pending: deque[Array] = deque(maxlen=KEPT)
        self._finished, self._seconds = 0, 0.0  # calls, and what they took together
        self._since: float | None = None  # the last one finished, or the run went on; None at rest
        self._gate = threading.Lock()
        self._over = threading.Event()

    def watch(self, array: Array) -> None:
        """An array of a call that has been dispatched: when it is ready, that call has finished."""
        with self._gate:
            self._pending.append(array)
            if self._since is None:
                self._since = time.monotonic()

    def rest(self) -> None:
        """Until the next `watch`."""
        with self._gate:
            self._pending.clear()
            self._since = None

    def limit(self) -> float | None:
        """Seconds that may pass; None as long as nothing is known of what is usual."""
        if not self._finished:
            return None
        return max(self._least, self._times * self._seconds / self._finished)

    def look(self) -> None:
        """Counts what has finished; ends the process if it is too long since something did."""
        with self._gate:
            if self._since is None:
                return
            now, ended = time.monotonic(), 0
            while self._pending and self._pending[0].is_ready():
                self._pending.popleft()
                ended += 1
            limit, elapsed = self.limit(), now - self._since
            if ended:
                self._finished, self._seconds, self._since = (
                    self._finished + ended,
                    self._seconds + elapsed,
                    now,
                )
            elif limit is not None and elapsed > limit:
                self._end(elapsed, limit)

    def forgive(self, seconds: float) -> None:
        """Does not count time in which the whole process stood still, suspended by a scheduler say."""
        with self._gate:
            if self._since is not None:
                self._since = min(self._since + seconds, time.monotonic())

    def run(self) -> None:
        pause = min(1.0, self._least / 10)
        while True:
            began = time.monotonic()
            if self._over.wait(pause):
                return
            self.forgive(time.monotonic() - began - pause)
            self.look()

    def stop(self) -> None:
        self._over.set()

    def _end(self, elapsed: float, limit: float) -> None:
        """Not by an exception: the main thread is where it cannot hear one."""
        told = f"lineage: no step finished in {elapsed:.0f} s, the limit is {limit:.0f} s; it hangs here:\n"
        for out in (sys.stderr, self._log.open("a")):
            print(time.strftime("%Y-%m-%d %H:%M:%S"), told, file=out, flush=True)
            faulthandler.dump_traceback(out, all_threads=True)
        os._exit(STATUS)


@contextmanager
def watchdog(directory: Path, times: float, minutes: float) -> Iterator[Watchdog]:
    """A Watchdog that looks every second, from a thread of its own; with `times` of 0, one that does not."""
    dog = Watchdog(directory, times, minutes)
    thread = threading.Thread(target=dog.run, name="watchdog", daemon=True)
    if times:
        thread.start()
    try:
        yield dog
    finally:
        dog.stop()
        if times:
            thread.join()
