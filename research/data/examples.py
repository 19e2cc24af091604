"""The part of an objective's record that makes batches."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

Batch = dict[str, np.ndarray]  # keys, shapes and types: `batch_shapes` of the objective
Report = Callable[[str], None]


class Examples(NamedTuple):
    """Functions that turn a source into batches, bound to the settings of one experiment.

    A store is one split, tokenized: a TokenStore of running text, or a split of labelled examples. `process`
    means process_index and process_count: each process gets its slice of a batch's rows. Functions are
    module-level functions or partials of them, so that `data.workers` can pickle them.
    """

    prepare: Callable[[Report], Any]  # → Corpus: both splits, tokenized
    train_batches: Callable[..., Any]  # (data, seed, store, **process) → MapDataset: the batch of a step
    validation_batches: Callable[..., Any]  # (data, store, **process) → MapDataset: the split, in order
    describe: Callable[[Batch, Any], Iterator[tuple[str, str]]]  # (batch, corpus) → (title, text) a row
    # (source, report) → Corpus with `source` as both splits, labels optional; None without a task
    prepare_test: Callable[[str, Report], Any] | None = None
