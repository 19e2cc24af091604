"""Ends a run that hangs, for example in a collective whose partner died or in a read from a lost disk."""

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

STATUS = 75  # EX_TEMPFAIL: the run can be continued
KEPT = 256  # pending calls to watch; calls end in order, so older ones need no watching


class Watchdog:
    """Ends the process if no call finishes within `times` the mean time of a call, and at least `minutes`.

    If up to `runs` share each call, each of them reports it as finished.

    It starts with the first finished call, so that it does not watch compilation, and pauses at `rest`, while
    the run evaluates or saves, which may take any time.
    """

    def __init__(self, directory: Path, times: float, minutes: float, runs: int = 1):
        self._log, self._times, self._least = directory / "hang.log", times * runs, 60 * minutes
        self._pending: deque[Array] = deque(maxlen=KEPT)
        self._finished, self._seconds = 0, 0.0  # calls that finished, and their total time
        self._since: float | None = None  # the last call finished, or the run resumed; None at rest
        self._gate = threading.Lock()
        self._over = threading.Event()

    def watch(self, array: Array) -> None:
        """Watches a dispatched call by one of its results."""
        with self._gate:
            self._pending.append(array)
            if self._since is None:
                self._since = time.monotonic()

    def rest(self) -> None:
        """Pauses until the next `watch`."""
        with self._gate:
            self._pending.clear()
            self._since = None

    def limit(self) -> float | None:
        """Seconds that a call may take; None before the first has finished."""
        if not self._finished:
            return None
        return max(self._least, self._times * self._seconds / self._finished)

    def look(self) -> None:
        """Counts finished calls; ends the process if the last one finished too long ago."""
        with self._gate:
            if self._since is None:
                return
            now, ended = time.monotonic(), 0
            # jax.Array has `is_ready`, but its stub does not.
            while self._pending and self._pending[0].is_ready():  # pyright: ignore[reportAttributeAccessIssue]
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
        """Ignores time in which the whole process was suspended, for example by a scheduler."""
        with self._gate:
            if self._since is not None:
                self._since = min(self._since + seconds, time.monotonic())

    def run(self) -> None:
        """Calls `look` once a second until `stop`; the body of the thread."""
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
        """Prints all stacks and exits; an exception cannot reach a main thread that hangs in native code."""
        message = (
            f"lineage: no step finished in {elapsed:.0f} s, the limit is {limit:.0f} s; it hangs here:\n"
        )
        for out in (sys.stderr, self._log.open("a", encoding="utf-8")):
            print(time.strftime("%Y-%m-%d %H:%M:%S"), message, file=out, flush=True)
            faulthandler.dump_traceback(out, all_threads=True)
        os._exit(STATUS)


@contextmanager
def watchdog(directory: Path, times: float, minutes: float, runs: int = 1) -> Iterator[Watchdog]:
    """A Watchdog with a thread that looks every second; without the thread if `times` is 0."""
    dog = Watchdog(directory, times, minutes, runs)
    thread = threading.Thread(target=dog.run, name="watchdog", daemon=True)
    if times:
        thread.start()
    try:
        yield dog
    finally:
        dog.stop()
        if times:
            thread.join()
