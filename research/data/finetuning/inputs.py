"""A task's examples as models read them: with start, delimiter and extract, or [CLS] and [SEP].

Shapes: B rows, S sequences an example, L their length: data.length at most.
"""

from collections.abc import Iterator

import numpy as np

from research.config import Experiment
from research.data.finetuning.classification import Labelled

# tokens: int32 (B, S, L); lengths: int32 (B, S), padding not counted; labels: int32, or float32 of scores,
# (B,); label_weights: float32 (B,); a BERT's segments: int32 (B, S, L); a GPT's auxiliary_weights: float32
# (B, S, L), of predicting the token after, whose sum is 1 a sequence
Batch = dict[str, np.ndarray]

START, DELIMITER, CLASSIFY = range(3)  # a GPT's marks, counted from the end of its vocabulary
LENGTHS = 8  # of batches, at most; a program is compiled for each that is met


def assemble(config: Experiment, store: Labelled, indices: np.ndarray) -> Batch:
    """The examples of these numbers."""
    L, S, family = config.data.length, config.task.sequences, config.model.family
    write = _bert if family == "bert" else _gpt
    pad = store.special_tokens.pad if family == "bert" else 0
    tokens_BSL = np.full((len(indices), S, L), pad, np.int32)
    segments_BSL = np.zeros((len(indices), S, L), np.int32)
    lengths_BS = np.zeros((len(indices), S), np.int32)
    for row, index in enumerate(indices.tolist()):
        for s, (context, last) in enumerate(readings(config, store, index)):
            ids, second = write(store, context, last, L)
            tokens_BSL[row, s, : len(ids)] = ids
            segments_BSL[row, s, second : len(ids)] = 1
            lengths_BS[row, s] = len(ids)
    batch = {
        "tokens": tokens_BSL,
        "lengths": lengths_BS,
        "labels": store.labels[indices],
        "label_weights": np.ones(len(indices), np.float32),
    }
    if family == "bert":
        batch["segments"] = segments_BSL
    elif config.objective.auxiliary:
        # A mean of each sequence's mean, as published: every one counts alike, however long it is.
        targets_BS1 = lengths_BS[..., None] - 1
        weights_BSL = (np.arange(L) < targets_BS1) / targets_BS1
        batch["auxiliary_weights"] = weights_BSL.astype(np.float32)
    return batch if config.run.steps_per_call > 1 else _trimmed(batch)  # those of one call are stacked


def _trimmed(batch: Batch) -> Batch:
    """Without the padding that is no sequence's own, to the next of `LENGTHS`."""
    grain = -(-batch["tokens"].shape[-1] // LENGTHS)
    length = -(-int(batch["lengths"].max()) // grain) * grain
    return {name: array[..., :length] if array.ndim == 3 else array for name, array in batch.items()}


Texts = list[np.ndarray]


def readings(config: Experiment, store: Labelled, example: int) -> Iterator[tuple[Texts, np.ndarray | None]]:
    """(the texts before, the last one if there are several) of each of an example's sequences."""
    texts = [store.text(example, which) for which in range(store.texts)]
    count = len(config.task.fields)
    if config.task.options:
        for option in texts[count:]:
            yield texts[:count], option
    elif count == 1:
        yield texts, None
    else:
        yield texts[:1], texts[1]
        if config.task.orders == "both":
            yield texts[1:], texts[0]


def _gpt(store: Labelled, context: Texts, last: np.ndarray | None, length: int) -> tuple[np.ndarray, int]:
    """start, text, classify; or start, text, delimiter, text, classify, each text cut to almost half.

    As in finetune-transformer-lm. Its code has no task whose context is of several texts: here the first of
    them, an article say, gives way to the others.
    """
    start, delimiter, classify = ([store.vocabulary + mark] for mark in (START, DELIMITER, CLASSIFY))
    if last is None:
        ids = np.concatenate([start, context[0][: length - 2], classify])
        return ids, len(ids)
    half = length // 2 - 2
    last = last[:half]
    room = half if len(context) == 1 else length - 3 - len(last)
    ids = np.concatenate([start, *_giving_way(context, room), delimiter, last, classify])
    return ids, len(ids)


def _bert(store: Labelled, context: Texts, last: np.ndarray | None, length: int) -> tuple[np.ndarray, int]:
    """[CLS] A [SEP], or [CLS] A [SEP] B [SEP], and where segment 1 begins.

    Of a pair the longer one is cut, as in run_classifier; of several texts the first one is A.
    """
    cls, sep = [store.special_tokens.cls], [store.special_tokens.sep]
    if last is None:
        ids = np.concatenate([cls, context[0][: length - 2], sep])
        return ids, len(ids)
    a, b = context[0], np.concatenate([*context[1:], last])
    kept_a, kept_b = cut_longer(len(a), len(b), length - 3)
    return np.concatenate([cls, a[:kept_a], sep, b[:kept_b], sep]), kept_a + 2


def _giving_way(texts: Texts, room: int) -> Texts:
    """`texts` within `room`: the first is cut, and the others from the end if that is not enough."""
    others = np.concatenate([*texts[1:], np.zeros(0, np.int32)])[:room]
    return [texts[0][: room - len(others)], others]


def cut_longer(a: int, b: int, most: int) -> tuple[int, int]:
    """What is left of two lengths when the longer one (b, if they are equal) is cut until both fit."""
    if a + b <= most:
        return a, b
    kept = a if a <= most - most // 2 else max(most - most // 2, most - b)
    return kept, most - kept
