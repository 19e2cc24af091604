"""Batches by step, with random access; the same for any number of processes."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grain
import numpy as np

from research.config import Data
from research.data.examples import Batch, Examples, Numbered
from research.data.order import order, rows_of
from research.data.workers import Batches, read_ahead


def train_batches(
    examples: Examples, data: Data, seed: int, store: Any, *, process_index: int = 0, process_count: int = 1
) -> Batches:
    """The batches by step, `[step]`: this process's slice of rows of the global batch.

    From `data.later.step` on, longer examples in an order of their own.
    Raises UsageError if the store does not hold a single example.
    """

    def begin(step: int) -> Batches:
        now = data.at_step(step)
        split = examples.train(now, seed, store)
        make = partial(_in_order, split, now, seed)
        return _own_rows(make, split, now, process_index, process_count)

    change = data.later.step
    early = begin(0)
    if not change:
        return early
    later = begin(change)

    def read(step: int) -> Batch:
        batch = early[step] if step < change else later[step - change]
        assert batch is not None  # as Grain returns for filtered ones
        return batch

    return grain.MapDataset.range(sys.maxsize).map(read)


def validation_batches(
    examples: Examples, data: Data, store: Any, *, process_index: int = 0, process_count: int = 1
) -> Batches:
    """The whole split in order, for any seed; rows that pad the last batch have weight 0.

    Examples have the length of the first step; for another step, pass `data.at_step(step)`.
    """
    data = data.at_step(0)
    split = examples.validation(data, store)
    return _own_rows(partial(_one_by_one, split, data), split, data, process_index, process_count)


def train_stream(
    examples: Examples, data: Data, seed: int, store: Any, start: int, stop: int, **process: int
) -> Iterator[Batch]:
    """The training batches of steps start to stop - 1, read ahead by threads or `data.workers` processes."""
    open_batches = partial(train_batches, examples, data, seed, store, **process)
    if data.workers:
        return read_ahead(open_batches, start, stop, workers=data.workers)
    return stream(open_batches(), start, stop)


def stream(
    batches: Batches, start: int, stop: int, *, threads: int = 2, ahead: int = 4
) -> grain.DatasetIterator[Batch]:
    """The batches of steps start to stop - 1, `ahead` of them read by threads; `close()` ends the threads."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    iterator = iter(batches[start:stop].to_iter_dataset(options))
    iterator.start_prefetch()
    return iterator


def _own_rows(
    make: Callable[[int, int], Batches], split: Numbered, data: Data, index: int, count: int
) -> Batches:
    """The rows of process `index` of `count`, which makes no others unless it has to."""
    own = _places(data, index, count)
    if not split.whole:
        return make(index, count)
    return make(0, 1).map(lambda batch: {name: array[own] for name, array in batch.items()})


def _in_order(split: Numbered, data: Data, seed: int, index: int, count: int) -> Batches:
    """A process's rows in the order of training."""
    own = _places(data, index, count)
    chosen = order(data, seed, split.edges, split.shares, process_index=index, process_count=count)
    return chosen.map_with_index(lambda step, numbers: split.read(numbers, step * data.batch + own))


def _one_by_one(split: Numbered, data: Data, index: int, count: int) -> Batches:
    """A process's rows of each example once."""
    own, examples = _places(data, index, count), split.edges[-1]

    def read(step: int) -> Batch:
        numbers = step * data.batch + own
        batch, real = split.read(numbers, numbers), numbers < examples
        return batch | {name: (array.T * real).T for name, array in batch.items() if name.endswith("weights")}

    return grain.MapDataset.range(-(-examples // data.batch)).map(read)


def _places(data: Data, index: int, count: int) -> np.ndarray:
    """The places of a process's rows in the first global batch."""
    rows = rows_of(data.batch, count)
    return index * rows + np.arange(rows)
