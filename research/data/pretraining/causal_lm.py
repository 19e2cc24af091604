"""GPT's examples: windows of contiguous tokens, with targets shifted by one.

B is rows of this process, L is data.length. A batch's keys: `research.objectives.next_token.batch_shapes`.
"""

from functools import partial
from itertools import pairwise

import grain
import numpy as np

from research.config import Data
from research.data.decode import describe_windows
from research.data.examples import Batch, Examples
from research.data.order import order, rows_of
from research.data.pretraining.document_ids import DocumentStarts, document_ids, document_starts
from research.data.sources.documents import parts
from research.data.store import token_store
from research.data.store.token_store import TokenStore
from research.errors import UsageError


def examples(data: Data, vocabulary: int) -> Examples:
    """`vocabulary` is the model's."""
    return Examples(
        prepare=partial(token_store.prepare, data, vocabulary),
        train_batches=train_batches,
        validation_batches=validation_batches,
        describe=describe_windows,
    )


def train_batches(
    data: Data, seed: int, store: TokenStore, *, process_index: int, process_count: int
) -> grain.MapDataset[Batch]:
    """Training windows. Shuffled: contiguous windows. Random: windows that begin anywhere.

    Raises UsageError if a source is shorter than a window.
    """
    length = data.length
    edges = [*store.parts, len(store.tokens)]
    for part, (begin, end) in enumerate(pairwise(edges)):
        if end - begin <= length:
            where = "" if len(edges) == 2 else f" of {parts(data)[part][1].source}"
            raise UsageError(
                f"data.length={length}: the training split{where} has {end - begin} tokens; "
                f"expected {length + 1} or more"
            )
    step = length if data.order == "shuffled" else 1
    last = (edges[-1] - 1 - length) // step + 1  # one after the last window start, in steps
    places = [-(-begin // step) for begin in edges[:-1]] + [last]
    process = {"process_index": process_index, "process_count": process_count}
    chosen = order(data, seed, places, store.shares, **process)
    windows = np.lib.stride_tricks.sliding_window_view(store.tokens, length + 1)
    documents = document_starts(data, store)
    return chosen.map(partial(_read, windows, documents, step))


def validation_batches(
    data: Data, store: TokenStore, *, process_index: int, process_count: int
) -> grain.MapDataset[Batch]:
    """Every token but the first is a target of weight 1 exactly once.

    Padding of the last window or batch has weight 0.
    """
    rows, length = rows_of(data.batch, process_count), data.length
    windows = -(-(len(store.tokens) - 1) // length)
    steps, documents = -(-windows // data.batch), document_starts(data, store)

    def read(step: int) -> Batch:
        first = step * data.batch + process_index * rows
        begin, end = first * length, (first + rows) * length
        here = np.zeros(rows * length + 1, np.int32)
        tokens = store.tokens[begin : end + 1]
        here[: len(tokens)] = tokens
        weights = np.arange(rows * length) < len(tokens) - 1
        batch = {
            "tokens": here[:-1].reshape(rows, length),
            "targets": here[1:].reshape(rows, length),
            "weights": weights.astype(np.float32).reshape(rows, length),
        }
        return batch | document_ids(documents, begin + length * np.arange(rows), length)

    return grain.MapDataset.range(steps).map(read)


def _read(windows: np.ndarray, documents: DocumentStarts | None, step: int, places: np.ndarray) -> Batch:
    chosen, length = windows[places * step], windows.shape[1] - 1
    batch = {
        "tokens": chosen[:, :-1].astype(np.int32),
        "targets": chosen[:, 1:].astype(np.int32),
        "weights": np.ones((len(places), length), np.float32),
    }
    return batch | document_ids(documents, places * step, length)
