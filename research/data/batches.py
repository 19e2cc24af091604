"""Batches by step: random access, the same over any number of processes."""

import grain
import numpy as np

from research.config import Experiment
from research.data import examples, windows
from research.data.store import Store

Batch = dict[str, np.ndarray]

EXAMPLES = {"next_token": windows, "masked_token": examples}


def train_batches(
    config: Experiment, store: Store, *, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset[Batch]:
    """The batch of a step, `[step]`: process p's slice of rows of the one global batch.

    Raises UsageError where the store does not hold a single example.
    """
    kind = EXAMPLES[config.objective.name]
    return kind.train_batches(config, store, process_index=process_index, process_count=process_count)


def validation_batches(
    config: Experiment, store: Store, *, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset[Batch]:
    """The whole split in order, the same whatever trains; the last batch is filled up at weights of 0."""
    kind = EXAMPLES[config.objective.name]
    return kind.validation_batches(config, store, process_index=process_index, process_count=process_count)


def stream(
    batches: grain.MapDataset[Batch], start: int, stop: int, *, threads: int = 2, ahead: int = 4
) -> grain.DatasetIterator[Batch]:
    """The batches of steps start to stop - 1, `ahead` of them read by threads; `close()` ends these."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    iterator = iter(batches[start:stop].to_iter_dataset(options))
    iterator.start_prefetch()
    return iterator
