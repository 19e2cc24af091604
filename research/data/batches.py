"""Batches for next-token prediction: random access by step, the same over any number of processes.

B is rows of this process, L is data.length.
"""

import sys
from functools import partial

import grain
import numpy as np

from research.config import Experiment
from research.data.store import Store
from research.errors import UsageError

Batch = dict[str, np.ndarray]  # tokens, targets: int32 (B, L); weights: float32 (B, L)


def train_batches(
    config: Experiment, store: Store, *, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset[Batch]:
    """The batch of a step, `[step]`: process p's slice of rows of the one global batch.

    Shuffled: windows side by side, each once an epoch, and epochs run on inside a batch.
    Random: windows drawn anywhere. Raises UsageError where the store is shorter than a window.
    """
    data, seed = config.data, config.run.seed
    rows = _rows(config, process_count)
    span = len(store.tokens) - data.length  # of places where a window can begin
    if span < 1:
        raise UsageError(
            f"data.length={data.length}: the training split has {len(store.tokens)} tokens; "
            f"expected {data.length + 1} or more"
        )
    if data.order == "shuffled":
        indices = grain.MapDataset.range((len(store.tokens) - 1) // data.length)
        # Repeated before it is batched, so that epochs join inside a batch and no window is dropped.
        batches = indices.seed(seed).shuffle().repeat().batch(rows, drop_remainder=True)
        starts = batches[process_index::process_count].map(lambda index: index * data.length)
    else:
        mine = slice(process_index * rows, (process_index + 1) * rows)
        draw = partial(_draw, seed=seed, rows=data.batch, span=span)
        starts = grain.MapDataset.range(sys.maxsize).map(lambda step: draw(step)[mine])
    windows = np.lib.stride_tricks.sliding_window_view(store.tokens, data.length + 1)
    return starts.map(partial(_read, windows))


def validation_batches(
    config: Experiment, store: Store, *, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset[Batch]:
    """The whole split in order: every token but the first is a target of weight 1 exactly once.

    Weights are 0 where the last window or batch is filled up.
    """
    rows, length = _rows(config, process_count), config.data.length
    windows = -(-(len(store.tokens) - 1) // length)
    steps = -(-windows // config.data.batch)

    def read(step: int) -> Batch:
        first = step * config.data.batch + process_index * rows
        begin, end = first * length, (first + rows) * length
        here = np.zeros(rows * length + 1, np.int32)
        tokens = store.tokens[begin : end + 1]
        here[: len(tokens)] = tokens
        weights = np.arange(rows * length) < len(tokens) - 1
        return {
            "tokens": here[:-1].reshape(rows, length),
            "targets": here[1:].reshape(rows, length),
            "weights": weights.astype(np.float32).reshape(rows, length),
        }

    return grain.MapDataset.range(steps).map(read)


def stream(batches: grain.MapDataset[Batch], start: int, stop: int) -> grain.DatasetIterator[Batch]:
    """The batches of steps start to stop - 1, read ahead by threads; `close()` ends these."""
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    iterator = iter(batches[start:stop].to_iter_dataset(options))
    iterator.start_prefetch()
    return iterator


def _rows(config: Experiment, process_count: int) -> int:
    rows, rest = divmod(config.data.batch, process_count)
    if rest:
        raise UsageError(f"data.batch={config.data.batch}: expected a multiple of {process_count} processes")
    return rows


def _draw(step: int, *, seed: int, rows: int, span: int) -> np.ndarray:
    """int64 (rows,), from 0 to span - 1: the raw bits, which NumPy promises never to change."""
    bits = np.random.Philox(key=seed, counter=int(step) << 64).random_raw(rows)
    return (bits % np.uint64(span)).astype(np.int64)


def _read(windows: np.ndarray, starts: np.ndarray) -> Batch:
    chosen = windows[starts]
    return {
        "tokens": chosen[:, :-1].astype(np.int32),
        "targets": chosen[:, 1:].astype(np.int32),
        "weights": np.ones((len(starts), chosen.shape[1] - 1), np.float32),
    }
