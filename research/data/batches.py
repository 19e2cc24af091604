"""Batches by step: random access, the same over any number of processes."""

import sys
from collections.abc import Callable, Iterator
from functools import partial

import grain
import numpy as np

from research.config import LABELLED, Experiment
from research.data.finetuning import dataset
from research.data.pretraining import causal_lm, masked_lm
from research.data.store import token_store
from research.data.store.token_store import Corpus, TokenStore
from research.data.workers import read_ahead

Batch = dict[str, np.ndarray]

EXAMPLES = {
    "next_token": causal_lm,
    "masked_token": masked_lm,
} | dict.fromkeys(LABELLED, dataset)


def corpus_of(config: Experiment, report: Callable[[str], None]) -> Corpus:
    """Both splits of what `config` learns from, tokenized; raises as the two `prepare` do."""
    if config.labelled:
        return dataset.prepare(config, report)
    return token_store.prepare(config.data, config.model.vocabulary, report)


def train_batches(
    config: Experiment, store: TokenStore, *, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset[Batch]:
    """The batch of a step, `[step]`: process p's slice of rows of the one global batch.

    From `data.later.step` on an order of the longer examples, from its start.
    Raises UsageError where the store does not hold a single example.
    """
    kind, change = EXAMPLES[config.objective.name], config.data.later.step
    process = {"process_index": process_index, "process_count": process_count}
    early = kind.train_batches(config.at_step(0), store, **process)
    if not change:
        return early
    later = kind.train_batches(config.at_step(change), store, **process)
    return grain.MapDataset.range(sys.maxsize).map(
        lambda step: early[step] if step < change else later[step - change]
    )


def validation_batches(
    config: Experiment, store: TokenStore, *, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset[Batch]:
    """The whole split in order, the same whatever trains; the last batch is filled up at weights of 0.

    In examples as at the first step; `config.at(step)` gives those of another.
    """
    kind = EXAMPLES[config.objective.name]
    return kind.validation_batches(
        config.at_step(0), store, process_index=process_index, process_count=process_count
    )


def train_stream(
    config: Experiment, store: TokenStore, start: int, stop: int, **process: int
) -> Iterator[Batch]:
    """The training batches of steps start to stop - 1, read ahead by threads, or `data.workers` processes."""
    opened = partial(train_batches, config, store, **process)
    if config.data.workers:
        return read_ahead(opened, start, stop, workers=config.data.workers)
    return stream(opened(), start, stop)


def stream(
    batches: grain.MapDataset[Batch], start: int, stop: int, *, threads: int = 2, ahead: int = 4
) -> grain.DatasetIterator[Batch]:
    """The batches of steps start to stop - 1, `ahead` of them read by threads; `close()` ends these."""
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    iterator = iter(batches[start:stop].to_iter_dataset(options))
    iterator.start_prefetch()
    return iterator
