"""Sentences with a tag for every word, predicted at the word's first piece (Devlin et al., 2018, 5.3).

Shapes: B rows, L data.length. A batch's keys: `research.objectives.token_classification.batch_shapes`.
"""

import hashlib
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from research.config import Data, Task
from research.data.examples import Batch, Examples
from research.data.finetuning import dataset
from research.data.finetuning.labels import NO_TAG, as_number, class_of, entropy, exact_class, is_number
from research.data.sources import records, schemes
from research.data.sources.file_records import Record
from research.data.sources.schemes import TEST
from research.data.tokenizers.published import spaced
from research.data.tokenizers.tokenizer import SpecialTokens, special_tokens
from research.errors import UsageError

HIDDEN = (None, -1, NO_TAG)  # tags of test sets


class Split(NamedTuple):
    """One split's sentences."""

    tokens: list[np.ndarray]  # of a sentence, int32 (pieces,)
    words: list[np.ndarray]  # int32 (kept words,): the words that have a piece
    firsts: list[np.ndarray]  # int32 (kept words,): where in `tokens` each begins
    labels: list[np.ndarray]  # int32 (words,): of all words; NO_TAG for those that do not count
    known: np.ndarray  # bool (sentences,): True with tags
    sha256: str
    baseline_loss: float  # nats per word when predicting tags by their frequencies
    special_tokens: SpecialTokens | None  # None: a GPT reads the words alone

    @property
    def marks(self) -> int:
        """Special tokens before the words, and after them."""
        return 0 if self.special_tokens is None else 1


def examples(
    data: Data, task: Task, tokenizer: dataset.OpenTokenizer, vocabulary: int, bidirectional: bool = True
) -> Examples:
    label_text, read_split = partial(_label_text, task=task), partial(read, task, bidirectional)
    return dataset.examples(
        data, tokenizer, vocabulary, read_split, assemble, label_text, separators=bidirectional
    )


def _label_text(
    pieces: list[list[str]], labels_L: np.ndarray, weights_L: np.ndarray, task: Task
) -> tuple[str, str]:
    tagged = [
        f"{piece}/{task.labels[label]}" if weight > 0 else piece
        for piece, label, weight in zip(pieces[0], labels_L, weights_L, strict=False)
    ]
    return "", " ".join(tagged)


def read(task: Task, bidirectional: bool, source: str, split: str, tokenizer: Tokenizer) -> tuple[Split, str]:
    """Reads and tokenizes a split; returns it and a summary. The split `TEST` needs no tags."""
    tokenizer = tokenizer if bidirectional else spaced(tokenizer)
    sentences, labels, known = [], [], []
    for where, record in schemes.records(source, {*task.fields, task.label}, split):
        words = records.value(record, task.fields[0], where, "task.fields")
        tags = _tags(record, task, where, split)
        if not isinstance(words, list) or (tags is not None and len(words) != len(tags)):
            raise UsageError(f"{where}: expected a list of words and one of as many tags")
        known.append(tags is not None)
        sentences.append([_word(word, where) for word in words])
        labels.append([0] * len(words) if tags is None else [_class(tag, task, where) for tag in tags])
    if not any(tag != NO_TAG for tags in labels for tag in tags):
        raise UsageError(f"{source}: no sentence {'' if split == TEST else 'with tags '}in it")
    encoded = tokenizer.encode_batch(sentences, is_pretokenized=True, add_special_tokens=False)
    tokens = [np.array(one.ids, np.int32) for one in encoded]
    labels = [np.array(tags, np.int32) for tags in labels]
    # A word has no piece if the tokenizer drops all its characters.
    found = [np.unique(np.array(one.word_ids, np.int32), return_index=True) for one in encoded]
    kept_words, firsts = zip(*((words, places.astype(np.int32)) for words, places in found), strict=True)
    kept = [tags[words] for tags, words in zip(labels, kept_words, strict=True)]
    digest = hashlib.sha256(b"".join(array.tobytes() for array in (*tokens, *firsts, *kept)))
    store = Split(
        tokens=tokens,
        words=list(kept_words),
        firsts=list(firsts),
        labels=labels,
        known=np.array(known),
        sha256=digest.hexdigest(),
        baseline_loss=entropy((tags := np.concatenate(kept))[tags != NO_TAG]),
        special_tokens=special_tokens(tokenizer) if bidirectional else None,
    )
    return store, f"{len(sentences):,} sentences, {sum(map(len, labels)):,} words"


def _word(word: Any, where: str) -> str:
    if not (isinstance(word, str) or is_number(word)):
        raise UsageError(f"{where}: word {word!r:.40}: expected a text or a number (task.fields)")
    return str(word)


def _tags(record: Record, task: Task, where: str, split: str) -> list | None:
    """The tags of a sentence's words; None if a record of the split `TEST` lacks or hides them."""
    if split == TEST and not any(name in record for name in records.alternatives(task.label)):
        return None
    tags = records.value(record, task.label, where, "task.label")
    if split == TEST and tags is None:
        return None
    if not isinstance(tags, list):
        raise UsageError(f"{where}: expected a list of words and one of as many tags")
    if split == TEST and tags and all(tag in HIDDEN for tag in tags):
        return None
    return tags


def _class(tag: Any, task: Task, where: str) -> int:
    """The class of a tag. Words with `NO_TAG` do not count, as in Transformers."""
    if tag is None:
        raise UsageError(f"{where}: tag None means none; expected one of task.labels for each word")
    ignored = as_number(tag) == NO_TAG and exact_class(tag, task) is None
    return NO_TAG if ignored else class_of(tag, task, where)


def assemble(split: Split, indices: np.ndarray, length: int) -> Batch:
    """[CLS] sentence [SEP], or for a GPT the sentence, cut to `length`; `NO_TAG` has weight 0."""
    special, room = split.special_tokens, length - 2 * split.marks
    before, after, pad = ([], [], 0) if special is None else ([special.cls], [special.sep], special.pad)
    labels_BL = np.zeros((len(indices), length), np.int32)
    weights_BL, sequences = np.zeros(labels_BL.shape, np.float32), []
    for row, index in enumerate(indices.tolist()):
        sequences.append([(np.array([*before, *split.tokens[index][:room], *after], np.int32), length)])
        places = split.firsts[index][split.firsts[index] < room]
        tags = split.labels[index][split.words[index][: len(places)]]
        labels_BL[row, places + split.marks] = np.maximum(tags, 0)
        weights_BL[row, places + split.marks] = tags != NO_TAG
    batch = dataset.padded(sequences, length, pad) | {"labels": labels_BL, "label_weights": weights_BL}
    if special is None:
        del batch["segments"]
    return batch
