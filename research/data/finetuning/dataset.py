"""Batches of labelled examples, of whatever kind, by step."""

from collections.abc import Callable
from functools import partial

import grain
import numpy as np

from research.config import Experiment
from research.data.finetuning import classification, inputs, question_answering, token_classification
from research.data.finetuning.classification import TEST
from research.data.order import order, rows_of
from research.data.store.token_store import Corpus
from research.data.tokenizers.for_task import tokenizer_of
from research.errors import UsageError

Batch = dict[str, np.ndarray]  # as the kind's `assemble` says

KINDS = {  # objective → what reads a split, what makes a batch of some of its examples
    "classification": (classification.tokenized, inputs.assemble),
    "regression": (classification.tokenized, inputs.assemble),
    "choice": (classification.tokenized, inputs.assemble),
    "spans": (question_answering.tokenized, question_answering.assemble),
    "tags": (token_classification.tokenized, token_classification.assemble),
}
SHORTEST = 8  # data.length


def prepare(config: Experiment, report: Callable[[str], None]) -> Corpus:
    """Both splits, tokenized. Raises UsageError for what cannot be read, and another vocabulary's weights."""
    if config.data.length < SHORTEST:
        raise UsageError(f"data.length={config.data.length}: expected {SHORTEST} or more for an example")
    sources = {"train": config.data.source, "validation": config.data.validation}
    return _corpus(config, sources, report)


def to_answer(config: Experiment, source: str, report: Callable[[str], None]) -> Corpus:
    """Other examples in the place of both splits; their labels need not be known. Raises as `prepare`."""
    return _corpus(config, {TEST: source}, report)


def _corpus(config: Experiment, sources: dict[str, str], report: Callable[[str], None]) -> Corpus:
    tokenizer, read = tokenizer_of(config), KINDS[config.objective.name][0]
    splits = []
    for split, source in sources.items():
        found, told = read(config, source, split, tokenizer)
        report(f"{split}: {told} of {source}")
        splits.append(found)
    return Corpus(tokenizer, splits[0], splits[-1])


def train_batches(
    config: Experiment, store, *, process_index: int, process_count: int
) -> grain.MapDataset[Batch]:
    """Every example once an epoch; epochs run on inside a batch.

    Each process makes the whole batch, whose longest example says how long it is, and takes its rows.
    """
    edges, shares, assemble = [0, len(store.labels)], (1.0,), KINDS[config.objective.name][1]
    mine = _own_rows(config, process_index, process_count)
    whole = order(config, edges, shares, process_index=0, process_count=1)
    return whole.map(partial(assemble, config, store)).map(mine)


def validation_batches(
    config: Experiment, store, *, process_index: int, process_count: int
) -> grain.MapDataset[Batch]:
    """Every example once, in order; rows that fill the last batch have weights of 0."""
    rows, count, assemble = config.data.batch, len(store.labels), KINDS[config.objective.name][1]
    mine = _own_rows(config, process_index, process_count)

    def read(step: int) -> Batch:
        indices = step * rows + np.arange(rows)
        real = indices < count
        batch = assemble(config, store, np.where(real, indices, 0))
        for name in batch:
            if name.endswith("weights"):
                batch[name] = batch[name] * real.reshape(-1, *(1,) * (batch[name].ndim - 1))
        return mine(batch)

    return grain.MapDataset.range(-(-count // rows)).map(read)


def _own_rows(config: Experiment, process_index: int, process_count: int) -> Callable[[Batch], Batch]:
    """What takes a process's slice of rows out of a whole batch."""
    rows = rows_of(config, process_count)
    mine = slice(process_index * rows, (process_index + 1) * rows)
    return lambda batch: {name: array[mine] for name, array in batch.items()}
