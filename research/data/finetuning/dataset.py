"""Batches of labelled examples by step, whatever the kind of label.

Labelled data sets are small, so they are read and tokenized at every start and kept in memory. A split has
`labels` (one entry per row), `known` (bool: which examples have a label), `sha256` and `baseline_loss`, the
loss of a constant predictor.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from research.config import Data
from research.data.decode import DescribeLabel, describe_labelled
from research.data.examples import Batch, Examples, Numbered, Report
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
        train=partial(_train, assemble),
        validation=partial(numbered, assemble),
        describe=partial(describe_labelled, vocabulary=vocabulary, label_text=label_text),
        prepare_test=partial(_prepare_test, prepare),
    )


def _prepare(
    data: Data,
    open_tokenizer: OpenTokenizer,
    read: Read,
    separators: bool,
    sources: dict[str, str | None],
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
        assert source is not None  # objectives.check refuses a task without data.validation
        with activity(f"reading {source}"):
            found, summary = read(source, split, tokenizer)
        report(f"{split}: {summary} of {source}")
        splits.append(found)
    return Corpus(tokenizer, splits[0], splits[-1])


def _prepare_test(prepare: Callable[..., Corpus], source: str, report: Report) -> Corpus:
    return prepare({TEST: source}, report)


def padded(sequences: list[list[tuple[np.ndarray, int]]], length: int, pad: int) -> Batch:
    """Tokens and segments (B, S, length), and lengths (B, S), of each row's sequences.

    A sequence is its ids, and where segment 1 begins in them.
    """
    shape = len(sequences), len(sequences[0]), length
    tokens_BSL, segments_BSL = np.full(shape, pad, np.int32), np.zeros(shape, np.int32)
    lengths_BS = np.zeros(shape[:2], np.int32)
    for row, nth in np.ndindex(shape[:2]):
        ids, second = sequences[row][nth]
        lengths_BS[row, nth] = end = len(ids)
        tokens_BSL[row, nth, :end] = ids
        segments_BSL[row, nth, second:end] = 1
    return {"tokens": tokens_BSL, "segments": segments_BSL, "lengths": lengths_BS}


def numbered(assemble: Assemble, data: Data, store: Any) -> Numbered:
    """Every example once per epoch. The longest one of a batch may determine the length of all."""
    count = len(store.labels)

    def read(numbers: np.ndarray, _: np.ndarray) -> Batch:
        return assemble(store, np.where(numbers < count, numbers, 0), data.length)

    return Numbered([0, count], read, whole=True)


def _train(assemble: Assemble, data: Data, seed: int, store: Any) -> Numbered:
    return numbered(assemble, data, store)
