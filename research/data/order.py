"""The examples of a step, by random access into a global order that is never held in memory."""

import sys
from functools import partial
from itertools import pairwise

import grain
import numpy as np

from research.config import Data
from research.errors import UsageError

Edges = list[int]  # n + 1 numbers: the examples of source k are from edges[k] to edges[k + 1] - 1


def order(
    data: Data, seed: int, edges: Edges, shares: tuple[float, ...], *, process_index: int, process_count: int
) -> grain.MapDataset[np.ndarray]:
    """The examples by step, `[step]`: int64 (rows,), this process's slice of the global batch.

    Shuffled: each example of a source once per epoch, and a batch may span two epochs; sources of a mixture
    alternate by their shares. Random: drawn anywhere.
    """
    rows = rows_of(data.batch, process_count)
    if data.order == "shuffled":
        sources = [
            grain.MapDataset.range(begin, end).seed(seed).shuffle().repeat() for begin, end in pairwise(edges)
        ]
        mixed = sources[0] if len(sources) == 1 else grain.MapDataset.mix(sources, shares)
        # Repeated before it is batched, so that epochs join inside a batch and no example is dropped.
        return mixed.batch(rows, drop_remainder=True)[process_index::process_count]
    mine = slice(process_index * rows, (process_index + 1) * rows)
    draw = partial(_draw, seed=seed, rows=data.batch, edges=edges, shares=shares)
    return grain.MapDataset.range(sys.maxsize).map(lambda step: draw(step)[mine])


def rows_of(batch: int, process_count: int) -> int:
    """The number of rows of a global batch per process."""
    rows, rest = divmod(batch, process_count)
    if rest:
        raise UsageError(f"data.batch={batch}: expected a multiple of {process_count} processes")
    return rows


def _draw(step: int, *, seed: int, rows: int, edges: Edges, shares: tuple[float, ...]) -> np.ndarray:
    """Draws int64 (rows,) from raw bits, which NumPy promises never to change."""
    philox = np.random.Philox(key=seed, counter=int(step) << 64)
    bits, begins = philox.random_raw(rows), np.array(edges)
    part = np.zeros(rows, np.int64)
    if len(shares) > 1:
        part = np.searchsorted(np.cumsum(shares)[:-1], philox.random_raw(rows) * 2.0**-64, side="right")
    spans = np.diff(begins)[part].astype(np.uint64)
    return begins[part] + (bits % spans).astype(np.int64)
