"""GPT's examples: windows of contiguous tokens, with targets shifted by one.

B is rows of this process, L is data.length. A batch's keys: `research.objectives.next_token.batch_shapes`.
"""

from functools import partial
from itertools import pairwise

import numpy as np

from research.config import Data
from research.data.decode import describe_windows
from research.data.examples import Batch, Examples, Numbered
from research.data.sources.documents import parts
from research.data.store import token_store
from research.data.store.token_store import TokenStore
from research.errors import UsageError


def examples(data: Data, vocabulary: int) -> Examples:
    """`vocabulary` is the model's."""
    return Examples(
        prepare=partial(token_store.prepare, data, vocabulary),
        train=train,
        validation=validation,
        describe=describe_windows,
    )


def train(data: Data, seed: int, store: TokenStore) -> Numbered:
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
    windows = np.lib.stride_tricks.sliding_window_view(store.tokens, length + 1)
    within = data.attend == "document"

    def read(numbers_B: np.ndarray, _: np.ndarray) -> Batch:
        begins_B = numbers_B * step
        chosen = windows[begins_B]
        batch = {
            "tokens": chosen[:, :-1].astype(np.int32),
            "targets": chosen[:, 1:].astype(np.int32),
            "weights": np.ones((len(chosen), length), np.float32),
        }
        return batch | ({"documents": document_ids(store, begins_B, length)} if within else {})

    return Numbered(places, read, store.shares)


def validation(data: Data, store: TokenStore) -> Numbered:
    """Every token but the first is a target of weight 1 exactly once.

    Padding of the last window has weight 0.
    """
    length, within = data.length, data.attend == "document"

    def read(numbers_B: np.ndarray, _: np.ndarray) -> Batch:
        begins_B = numbers_B * length
        tokens = store.tokens[begins_B[0] : begins_B[-1] + length + 1]
        here = np.zeros(len(begins_B) * length + 1, np.int32)
        here[: len(tokens)] = tokens
        weights = (np.arange(len(here) - 1) < len(tokens) - 1).astype(np.float32)
        batch = {"tokens": here[:-1], "targets": here[1:], "weights": weights}
        batch = {name: array.reshape(-1, length) for name, array in batch.items()}
        return batch | ({"documents": document_ids(store, begins_B, length)} if within else {})

    return Numbered([0, -(-(len(store.tokens) - 1) // length)], read)


def document_ids(store: TokenStore, begins_B: np.ndarray, length: int) -> np.ndarray:
    """The document of each token of windows that begin at `begins_B`: int32 (B, L), each row counts from 0.

    An `<|endoftext|>` belongs to the document after it: a model starts to write from this token, and the
    first token of a document is then not predicted from the previous document. Without `<|endoftext|>`, a
    document starts with its first token.
    """
    starts, before = store.starts, int(store.ended)  # tokens before a start that belong to the document
    # Documents that start after the first token of a window, up to its last.
    first_B, last_B = (np.searchsorted(starts, begins_B + before + n, "right") for n in (0, length - 1))
    counts_B = last_B - first_B
    rows = np.repeat(np.arange(len(begins_B)), counts_B)
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(counts_B) - counts_B, counts_B)
    starts_BL = np.zeros((len(begins_B), length), np.int32)
    starts_BL[rows, starts[first_B[rows] + nth] - before - begins_B[rows]] = 1
    return starts_BL.cumsum(axis=1, dtype=np.int32)
