"""Batches by step, with random access; the same for any number of processes."""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import grain

from research.config import Data
from research.data.examples import Batch, Examples
from research.data.workers import read_ahead


def train_batches(
    examples: Examples, data: Data, seed: int, store: Any, *, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset[Batch]:
    """The batches by step, `[step]`: this process's slice of rows of the global batch.

    From `data.later.step` on, longer examples in an order of their own.
    Raises UsageError if the store does not hold a single example.
    """
    process = {"process_index": process_index, "process_count": process_count}
    change = data.later.step
    early = examples.train_batches(data.at_step(0), seed, store, **process)
    if not change:
        return early
    later = examples.train_batches(data.at_step(change), seed, store, **process)
    return grain.MapDataset.range(sys.maxsize).map(
        lambda step: early[step] if step < change else later[step - change]
    )


def validation_batches(
    examples: Examples, data: Data, store: Any, *, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset[Batch]:
    """The whole split in order, for any seed; rows that pad the last batch have weight 0.

    Examples have the length of the first step; for another step, pass `data.at_step(step)`.
    """
    return examples.validation_batches(
        data.at_step(0), store, process_index=process_index, process_count=process_count
    )


def train_stream(
    examples: Examples, data: Data, seed: int, store: Any, start: int, stop: int, **process: int
) -> Iterator[Batch]:
    """The training batches of steps start to stop - 1, read ahead by threads or `data.workers` processes."""
    open_batches = partial(train_batches, examples, data, seed, store, **process)
    if data.workers:
        return read_ahead(open_batches, start, stop, workers=data.workers)
    return stream(open_batches(), start, stop)


def stream(
    batches: grain.MapDataset[Batch], start: int, stop: int, *, threads: int = 2, ahead: int = 4
) -> grain.DatasetIterator[Batch]:
    """The batches of steps start to stop - 1, `ahead` of them read by threads; `close()` ends the threads."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    iterator = iter(batches[start:stop].to_iter_dataset(options))
    iterator.start_prefetch()
    return iterator
