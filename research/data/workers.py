"""Batches made by other processes: for examples that cost more than threads can do under Python's lock.

Each opens the examples anew, over the same mapped files, and is asked for batches by their steps.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice

import numpy as np

from research.config.imports import import_plugin, imported
from research.errors import EnvironmentFault

Batch = dict[str, np.ndarray]
Opened = Callable[[], Sequence[Batch]]  # it is sent to the workers, so it can be pickled

# A terminal or a scheduler signals all of a job's processes; only the training process reacts.
NOT_OURS = {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}


def read_ahead(opened: Opened, start: int, stop: int, *, workers: int) -> Iterator[Batch]:
    """The batches of steps start to stop - 1, two of each worker's ahead; `close()` ends the workers.

    Raises EnvironmentFault if a worker dies, as one does that memory is short for.
    """
    sent = list(imported()), pickle.dumps(opened)
    # Spawned: a fork of a process in which JAX has threads may find their locks held for ever.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, sent)
    try:
        steps = iter(range(start, stop))
        with _blocked(NOT_OURS):
            ahead = deque(pool.submit(_read, step) for step in islice(steps, 2 * workers))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(_read, step) for step in islice(steps, 1))
            yield batch
    except BrokenProcessPool as fault:
        raise EnvironmentFault(
            f"data.workers={workers}: a worker died before its batch was made; fewer workers need less memory"
        ) from fault
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    """Processes that are started in here never see `signals`; this one does, afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(plugins: list[str], opened: bytes) -> None:
    """In a worker, which ends with the process that it works for, however that ends.

    `opened` is pickled apart, since the modules that it names may be among the plugins.
    """
    threading.Thread(target=_follow, daemon=True).start()
    for plugin in plugins:
        import_plugin(plugin)
    global _batches
    _batches = pickle.loads(opened)()


def _follow() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _read(step: int) -> Batch:
    return _batches[step]
