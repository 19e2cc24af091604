"""Batches from worker processes, for examples that are too slow for threads under Python's lock.

Each worker opens the examples again, over the same mapped files, and gets requests for batches by step.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice

import grain

from research.config.imports.loading import import_plugin, imported
from research.data.examples import Batch
from research.errors import EnvironmentFault

Batches = grain.MapDataset[Batch]  # by step
Opened = Callable[[], Batches]  # sent to the workers, so it must be picklable

# A terminal or a scheduler signals all of a job's processes; only the training process reacts.
NOT_OURS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}


def read_ahead(opened: Opened, start: int, stop: int, *, workers: int) -> Iterator[Batch]:
    """The batches of steps start to stop - 1, two per worker ahead; `close()` ends the workers.

    Raises EnvironmentFault if a worker dies, for example when memory is short.
    """
    sent = list(imported()), pickle.dumps(opened)
    # Spawned: a fork of a process with JAX's threads may inherit locks that are never released.
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
            f"data.workers={workers}: a worker died before its batch was made; fewer workers need less "
            "memory, and a script has to train under if __name__ == '__main__', since workers import it"
        ) from fault
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    """Blocks `signals` in processes started inside; this process receives them afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(plugins: list[str], opened: bytes) -> None:
    """Entry point of a worker, which ends with its parent process in any case.

    `opened` is pickled separately, since the modules that it names may be plugins.
    """
    threading.Thread(target=_follow, daemon=True).start()
    for plugin in plugins:
        import_plugin(plugin)
    global _batches
    _batches = pickle.loads(opened)()


def _follow() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def _read(step: int) -> Batch:
    batch = _batches[step]
    assert batch is not None  # as Grain returns for filtered ones
    return batch
