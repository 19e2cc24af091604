"""Sentences with a tag for every word, predicted at the word's first piece (Devlin et al., 2018, 5.3).

Shapes: B rows, L data.length. A batch's keys: `research.objectives.token_classification.batch_shapes`.
"""

import hashlib
from functools import partial
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.config import Experiment, Task
from research.data.examples import Batch, Examples
from research.data.finetuning import dataset
from research.data.finetuning.labels import class_of, entropy
from research.data.sources import records
from research.data.tokenizers.tokenizer import SpecialTokens, special_tokens
from research.errors import UsageError


class Split(NamedTuple):
    """One split's sentences."""

    tokens: list[np.ndarray]  # of a sentence, int32 (pieces,)
    firsts: list[np.ndarray]  # int32 (words,): where in them each word begins
    labels: list[np.ndarray]  # int32 (words,)
    sha256: str
    baseline_loss: float  # nats per word, of predicting tags by their frequencies
    special_tokens: SpecialTokens
    labels_known: bool = True  # tags are read for every split


def examples(experiment: Experiment) -> Examples:
    task = experiment.task
    label_text = partial(_label_text, task=task)
    return dataset.examples(experiment, partial(read, task), assemble, label_text, separators=True)


def _label_text(
    pieces: list[list[str]], labels_L: np.ndarray, weights_L: np.ndarray, task: Task
) -> tuple[str, str]:
    tagged = [
        f"{piece}/{task.labels[label]}" if weight > 0 else piece
        for piece, label, weight in zip(pieces[0], labels_L, weights_L, strict=False)
    ]
    return "", " ".join(tagged)


def read(task: Task, source: str, split: str, tokenizer: Tokenizer) -> tuple[Split, str]:
    """A split, tokenized, and its summary in words."""
    sentences, labels = [], []
    for where, record in records.read(source, {*task.fields, task.label}, split):
        words = records.value(record, task.fields[0], where, "task.fields")
        tags = records.value(record, task.label, where, "task.label")
        if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags):
            raise UsageError(f"{where}: expected a list of words and one of as many tags")
        sentences.append(words)
        labels.append([class_of(tag, task, where) for tag in tags])
    if not sentences:
        raise UsageError(f"{source}: no sentence with tags in it")
    encoded = tokenizer.encode_batch(sentences, is_pretokenized=True, add_special_tokens=False)
    tokens, firsts, kept = [], [], []
    for one, tags in zip(encoded, labels, strict=True):
        # A word of characters that the tokenizer drops has no piece.
        words, places = np.unique(np.array(one.word_ids, np.int32), return_index=True)
        tokens.append(np.array(one.ids, np.int32))
        firsts.append(places.astype(np.int32))
        kept.append(np.array(tags, np.int32)[words])
    digest = hashlib.sha256(b"".join(array.tobytes() for array in (*tokens, *firsts, *kept)))
    baseline_loss = entropy(np.concatenate(kept))
    store = Split(tokens, firsts, kept, digest.hexdigest(), baseline_loss, special_tokens(tokenizer))
    return store, f"{len(sentences):,} sentences, {sum(map(len, kept)):,} words"


def assemble(split: Split, indices: np.ndarray, length: int) -> Batch:
    """[CLS] sentence [SEP] of the sentences of these numbers, cut to `length`; cut tags have no weight."""
    B, L = len(indices), length
    tokens_B1L = np.full((B, 1, L), split.special_tokens.pad, np.int32)
    lengths_B1 = np.zeros((B, 1), np.int32)
    labels_BL, weights_BL = np.zeros((B, L), np.int32), np.zeros((B, L), np.float32)
    for row, index in enumerate(indices.tolist()):
        ids = np.concatenate(
            [[split.special_tokens.cls], split.tokens[index][: L - 2], [split.special_tokens.sep]]
        )
        places = split.firsts[index][split.firsts[index] < L - 2]
        tokens_B1L[row, 0, : len(ids)] = ids
        lengths_B1[row] = len(ids)
        labels_BL[row, places + 1] = split.labels[index][: len(places)]
        weights_BL[row, places + 1] = 1
    return {
        "tokens": tokens_B1L,
        "segments": np.zeros_like(tokens_B1L),
        "lengths": lengths_B1,
        "labels": labels_BL,
        "label_weights": weights_BL,
    }
