"""The part of an objective's record that makes batches."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

Batch = dict[str, np.ndarray]  # keys, shapes and types: `batch_shapes` of the objective
Report = Callable[[str], None]


class Numbered(NamedTuple):
    """The examples of a split, by number from 0."""

    edges: list[int]  # those of source k of a mixture are from edges[k] to edges[k + 1] - 1
    # (numbers of rows, their places in the order of training) → their batch. In validation numbers follow
    # each other; those from edges[-1] on fill the last batch up, and their weights do not count.
    read: Callable[[np.ndarray, np.ndarray], Batch]
    shares: tuple[float, ...] = (1.0,)  # of the sources
    # Whether the rows of a batch depend on each other, as when the longest sets the length.
    whole: bool = False


class Examples(NamedTuple):
    """Functions that turn a source into examples, bound to the settings of one experiment.

    A store is one split, tokenized: a TokenStore of running text, or a split of labelled examples. Functions
    are module-level functions or partials of them, so that `data.workers` can pickle them.
    """

    prepare: Callable[[Report], Any]  # → Corpus: both splits, tokenized
    train: Callable[..., Numbered]  # (data, seed, store)
    validation: Callable[..., Numbered]  # (data, store)
    describe: Callable[[Batch, Any], Iterator[tuple[str, str]]]  # (batch, corpus) → (title, text) a row
    # (source, report) → Corpus with `source` as both splits, labels optional; None without a task
    prepare_test: Callable[[str, Report], Any] | None = None
