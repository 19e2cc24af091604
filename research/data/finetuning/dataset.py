"""Batches of labelled examples by step, whatever the kind of label.

Labelled data sets are small, so they are read and tokenized at every start and kept in memory. A split has
`labels` (one entry per row), `known` (bool: which examples have a label), `sha256` and `baseline_loss`, the
loss of a constant predictor.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import grain
import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.decode import DescribeLabel, describe_labelled
from research.data.examples import Batch, Examples, Report
from research.data.order import order, rows_of
from research.data.sources.schemes import TEST
from research.data.store.token_store import Corpus
from research.data.tokenizers.spacy_words import difference
from research.data.tokenizers.tokenizer import special_tokens
from research.errors import UsageError
from research.io.activity import activity

OpenTokenizer = Callable[[], Tokenizer]
Read = Callable[[str, str, Tokenizer], tuple[Any, str]]  # (source, split, tokenizer) → (split, its summary)
Assemble = Callable[[Any, np.ndarray, int], Batch]  # (split, numbers of rows, data.length) → their batch

SHORTEST = 8  # data.length


def examples(
    data: Data,
    tokenizer: OpenTokenizer,
    vocabulary: int,
    read: Read,
    assemble: Assemble,
    label_text: DescribeLabel,
    separators: bool,
) -> Examples:
    """Examples of one kind, for a model of this `vocabulary`.

    `separators` says whether their inputs have [CLS] and [SEP].
    """
    prepare = partial(_prepare, data, tokenizer, read, separators)
    return Examples(
        prepare=partial(prepare, {"train": data.source, "validation": data.validation}),
        train_batches=partial(train_batches, assemble),
        validation_batches=partial(validation_batches, assemble),
        describe=partial(describe_labelled, vocabulary=vocabulary, label_text=label_text),
        prepare_test=partial(_prepare_test, prepare),
    )


def _prepare(
    data: Data,
    open_tokenizer: OpenTokenizer,
    read: Read,
    separators: bool,
    sources: dict[str, str],
    report: Report,
) -> Corpus:
    """Reads and tokenizes both splits.

    Raises UsageError for a source that cannot be read, and for a tokenizer that differs from that of the
    weights, or lacks [CLS] and [SEP] if `separators` are needed.
    """
    if data.length < SHORTEST:
        raise UsageError(f"data.length={data.length}: expected {SHORTEST} or more for an example")
    tokenizer = open_tokenizer()
    if separators and special_tokens(tokenizer) is None:
        raise UsageError(
            f"data.tokenizer={data.tokenizer}: a bert needs [CLS], [SEP], [MASK] and [PAD] in it"
        )
    if unlike := difference(tokenizer, data.tokenizer):
        report(unlike)
    splits = []
    for split, source in sources.items():
        with activity(f"reading {source}"):
            found, summary = read(source, split, tokenizer)
        report(f"{split}: {summary} of {source}")
        splits.append(found)
    return Corpus(tokenizer, splits[0], splits[-1])


def _prepare_test(prepare: Callable[..., Corpus], source: str, report: Report) -> Corpus:
    return prepare({TEST: source}, report)


def train_batches(
    assemble: Assemble, data: Data, seed: int, store: Any, *, process_index: int, process_count: int
) -> grain.MapDataset[Batch]:
    """Every example once per epoch; a batch may span two epochs.

    Each process makes the whole batch, since the longest example determines its length, and takes its rows.
    """
    mine = _own_rows(data, process_index, process_count)
    whole = order(data, seed, [0, len(store.labels)], (1.0,), process_index=0, process_count=1)
    return whole.map(lambda indices: mine(assemble(store, indices, data.length)))


def validation_batches(
    assemble: Assemble, data: Data, store: Any, *, process_index: int, process_count: int
) -> grain.MapDataset[Batch]:
    """Every example once, in order; rows that pad the last batch have weight 0."""
    rows, count = data.batch, len(store.labels)
    mine = _own_rows(data, process_index, process_count)

    def read(step: int) -> Batch:
        indices = step * rows + np.arange(rows)
        real = indices < count
        batch = assemble(store, np.where(real, indices, 0), data.length)
        for name in batch:
            if name.endswith("weights"):
                batch[name] = batch[name] * real.reshape(-1, *(1,) * (batch[name].ndim - 1))
        return mine(batch)

    return grain.MapDataset.range(-(-count // rows)).map(read)


def _own_rows(data: Data, process_index: int, process_count: int) -> Callable[[Batch], Batch]:
    """The function that takes a process's slice of rows out of a whole batch."""
    rows = rows_of(data.batch, process_count)
    mine = slice(process_index * rows, (process_index + 1) * rows)
    return lambda batch: {name: array[mine] for name, array in batch.items()}
