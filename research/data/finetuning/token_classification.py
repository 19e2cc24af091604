"""Sentences whose every word has a tag, which is asked of the word's first piece (Devlin et al., 2018, 5.3).

Shapes: B rows of this process, L data.length.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.config import Experiment
from research.data.finetuning.classification import class_of, entropy
from research.data.sources import records
from research.data.tokenizers.tokenizer import SpecialTokens, special_tokens
from research.errors import UsageError

# tokens, segments: int32 (B, 1, L); lengths: int32 (B, 1); labels: int32 (B, L), and label_weights: float32
# (B, L), 1 at a word's first piece
Batch = dict[str, np.ndarray]


class Tagged(NamedTuple):
    """One split's sentences."""

    tokens: list[np.ndarray]  # of a sentence, int32 (pieces,)
    firsts: list[np.ndarray]  # int32 (words,): where in them each word begins
    labels: list[np.ndarray]  # int32 (words,)
    sha256: str
    baseline_loss: float  # nats a word
    special_tokens: SpecialTokens


def tokenized(experiment: Experiment, source: str, split: str, tokenizer: Tokenizer) -> tuple[Tagged, str]:
    """A split, and what to tell of it."""
    task = experiment.task
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
        # A word of nothing but what the tokenizer drops has no piece to ask.
        words, places = np.unique(np.array(one.word_ids, np.int32), return_index=True)
        tokens.append(np.array(one.ids, np.int32))
        firsts.append(places.astype(np.int32))
        kept.append(np.array(tags, np.int32)[words])
    digest = hashlib.sha256(b"".join(array.tobytes() for array in (*tokens, *firsts, *kept)))
    known = entropy(np.concatenate(kept))
    store = Tagged(tokens, firsts, kept, digest.hexdigest(), known, special_tokens(tokenizer))
    return store, f"{len(sentences):,} sentences, {sum(map(len, kept)):,} words"


def assemble(config: Experiment, store: Tagged, indices: np.ndarray) -> Batch:
    """[CLS] sentence [SEP]; what is too long for it is cut off, and not asked."""
    B, L = len(indices), config.data.length
    tokens_B1L = np.full((B, 1, L), store.special_tokens.pad, np.int32)
    lengths_B1 = np.zeros((B, 1), np.int32)
    labels_BL, weights_BL = np.zeros((B, L), np.int32), np.zeros((B, L), np.float32)
    for row, index in enumerate(indices.tolist()):
        ids = np.concatenate(
            [[store.special_tokens.cls], store.tokens[index][: L - 2], [store.special_tokens.sep]]
        )
        places = store.firsts[index][store.firsts[index] < L - 2]
        tokens_B1L[row, 0, : len(ids)] = ids
        lengths_B1[row] = len(ids)
        labels_BL[row, places + 1] = store.labels[index][: len(places)]
        weights_BL[row, places + 1] = 1
    return {
        "tokens": tokens_B1L,
        "segments": np.zeros_like(tokens_B1L),
        "lengths": lengths_B1,
        "labels": labels_BL,
        "label_weights": weights_BL,
    }
