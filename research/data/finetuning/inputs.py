"""Classification examples as model inputs.

With start, delimiter and classify, as texts alone, or with [CLS] and [SEP].

Shapes: B rows, S sequences per example, L their length, at most data.length. A batch's keys:
`research.objectives.task.task_shapes`.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from tokenizers import Tokenizer

from research.config import Data, Task
from research.data.examples import Batch, Examples
from research.data.finetuning import classification, dataset
from research.data.finetuning.classification import Split
from research.data.finetuning.labels import Labels
from research.data.tokenizers.tokenizer import SpecialTokens
from research.errors import UsageError

START, DELIMITER, CLASSIFY = range(3)  # a GPT's special embeddings, after its vocabulary
LENGTHS = 8  # maximum number of batch lengths; each compiles a program


def examples(
    data: Data,
    task: Task,
    tokenizer: dataset.OpenTokenizer,
    vocabulary: int,
    *,
    labels: Labels,
    bidirectional: bool,
    special_tokens: bool,
    auxiliary: bool,
    trimmed: bool,
) -> Examples:
    """Examples with labels of one kind, as inputs of a `bidirectional` or causal model.

    `special_tokens`: a GPT's batches have start, delimiter and classify; `auxiliary`: they have weights for
    an auxiliary loss; `trimmed`: batches are as long as their longest example instead of data.length.
    """
    read = partial(classification.read, data, task, labels)
    sequence = _bert if bidirectional else partial(_gpt, vocabulary) if special_tokens else _plain
    return dataset.examples(
        data,
        tokenizer,
        vocabulary,
        read=read if bidirectional or special_tokens else partial(_read_plain, read, task),
        assemble=partial(assemble, task=task, sequence=sequence, auxiliary=auxiliary, trimmed=trimmed),
        label_text=partial(_label_text, task=task, labels=labels),
        separators=bidirectional,
    )


def _label_text(
    pieces: list[list[str]], label: np.ndarray, weight: np.ndarray, task: Task, labels: Labels
) -> tuple[str, str]:
    return f", {labels.text(label, task)}", "\n".join(map(" ".join, pieces))


def assemble(
    split: Split,
    indices: np.ndarray,
    length: int,
    *,
    task: Task,
    sequence: "MakeSequence",
    auxiliary: bool,
    trimmed: bool,
) -> Batch:
    """The batch of the examples with these indices; a BERT's has segments.

    With `auxiliary`, adds weights for predicting each next token. With `trimmed`, cuts it to its longest
    sequence.
    """
    sequences = [
        [sequence(split.special_tokens, *texts, length) for texts in readings(task, split, index)]
        for index in indices.tolist()
    ]
    bidirectional, special = sequence is _bert, split.special_tokens
    batch = dataset.padded(sequences, length, special.pad if bidirectional and special else 0)
    batch |= {"labels": split.labels[indices], "label_weights": np.ones(len(indices), np.float32)}
    if not bidirectional:
        del batch["segments"]
    if auxiliary:
        # A mean of each sequence's mean, as published: all sequences count equally, whatever their length.
        targets_BS1 = batch["lengths"][..., None] - 1  # none in a text of one token
        weights_BSL = (np.arange(length) < targets_BS1) / np.maximum(targets_BS1, 1)
        batch["auxiliary_weights"] = weights_BSL.astype(np.float32)
    return _trimmed(batch) if trimmed else batch


def _trimmed(batch: Batch) -> Batch:
    """Removes padding common to all sequences, up to the next of `LENGTHS`."""
    grain = -(-batch["tokens"].shape[-1] // LENGTHS)
    length = -(-int(batch["lengths"].max()) // grain) * grain
    return {name: array[..., :length] if array.ndim == 3 else array for name, array in batch.items()}


Texts = list[np.ndarray]
# (a BERT's special tokens, context, last, data.length) → (ids, where segment 1 begins)
MakeSequence = Callable[[SpecialTokens | None, Texts, np.ndarray | None, int], tuple[np.ndarray, int]]


def readings(task: Task, split: Split, example: int) -> Iterator[tuple[Texts, np.ndarray | None]]:
    """(the texts before, the last one if there are several) of each of an example's sequences."""
    texts = [split.text(example, which) for which in range(split.texts)]
    count = len(task.fields)
    if task.options:
        for option in texts[count:]:
            yield texts[:count], option
    elif count == 1:
        yield texts, None
    else:
        yield texts[:1], texts[1]
        if task.orders == "both":
            yield texts[1:], texts[0]


def _gpt(
    vocabulary: int, _: SpecialTokens | None, context: Texts, last: np.ndarray | None, length: int
) -> tuple[np.ndarray, int]:
    """start, text, classify; or start, text, delimiter, text, classify, each text cut to almost half.

    As in finetune-transformer-lm. Its code has no task with several context texts; here the first one, such
    as an article, is cut in favour of the others.
    """
    start, delimiter, classify = ([vocabulary + special] for special in (START, DELIMITER, CLASSIFY))
    if last is None:
        return np.concatenate([start, context[0][: length - 2], classify]), length
    last = last[: length // 2 - 2]
    room = length // 2 - 2 if len(context) == 1 else length - 3 - len(last)
    others = np.concatenate([*context[1:], np.zeros(0, np.int32)])[:room]
    first = context[0][: room - len(others)]
    return np.concatenate([start, first, others, delimiter, last, classify]), length


def _plain(
    _: SpecialTokens | None, context: Texts, last: np.ndarray | None, length: int
) -> tuple[np.ndarray, int]:
    """The texts one after another; of a pair the longer one is cut, as by Transformers' tokenizers."""
    if last is None:
        return context[0][:length], length
    first = np.concatenate(context)
    kept_first, kept_last = cut_longer(len(first), len(last), length)
    return np.concatenate([first[:kept_first], last[:kept_last]]), length


def _read_plain(
    read: dataset.Read, task: Task, source: str, split: str, tokenizer: Tokenizer
) -> tuple[Split, str]:
    """Raises UsageError for an example without a token, since a GPT reads the state of the last one."""
    found, summary = read(source, split, tokenizer)
    for example in range(len(found)):
        if not all(
            len(_plain(None, context, last, 2)[0]) for context, last in readings(task, found, example)
        ):
            raise UsageError(
                f"{source}: example {example + 1:,} has no token, and model.special_tokens=false adds none"
            )
    return found, summary


def _bert(
    special: SpecialTokens | None, context: Texts, last: np.ndarray | None, length: int
) -> tuple[np.ndarray, int]:
    """[CLS] A [SEP], or [CLS] A [SEP] B [SEP].

    In a pair the longer text is cut, as in run_classifier; with several texts the first one is A.
    """
    assert special is not None  # `dataset` refuses a tokenizer without them
    cls, sep = [special.cls], [special.sep]
    if last is None:
        return np.concatenate([cls, context[0][: length - 2], sep]), length
    a, b = context[0], np.concatenate([*context[1:], last])
    kept_a, kept_b = cut_longer(len(a), len(b), length - 3)
    return np.concatenate([cls, a[:kept_a], sep, b[:kept_b], sep]), kept_a + 2


def cut_longer(a: int, b: int, most: int) -> tuple[int, int]:
    """Two lengths, after cutting the longer one (b, if equal) until both fit into `most`."""
    if a + b <= most:
        return a, b
    kept = a if a <= most - most // 2 else max(most - most // 2, most - b)
    return kept, most - kept
