"""Batches as readable text: (title, text) of every row."""

from collections.abc import Callable, Iterator

import numpy as np
from tokenizers import Tokenizer

from research.data.examples import Batch
from research.data.store.token_store import Corpus

SPECIAL_NAMES = ("<start>", "<delimiter>", "<classify>")  # in the order of research.data.finetuning.inputs

# (pieces of an example's sequences, label, label weight) → (text after the title, text)
DescribeLabel = Callable[[list[list[str]], np.ndarray, np.ndarray], tuple[str, str]]


def describe_windows(batch: Batch, corpus: Corpus) -> Iterator[tuple[str, str]]:
    """The text of each row and of its last target."""
    for tokens, targets in zip(batch["tokens"], batch["targets"], strict=True):
        ids = [*tokens.tolist(), int(targets[-1])]
        yield f"{len(tokens)} tokens", corpus.tokenizer.decode(ids, skip_special_tokens=False)


def describe_pairs(batch: Batch, corpus: Corpus) -> Iterator[tuple[str, str]]:
    """Both segments of each row. A masked token is shown as the model sees it, then «the original»."""
    for row in range(len(batch["tokens"])):
        yield _pair({name: array[row] for name, array in batch.items()}, corpus.tokenizer)


def describe_labelled(
    batch: Batch, corpus: Corpus, vocabulary: int, label_text: DescribeLabel
) -> Iterator[tuple[str, str]]:
    """The sequences of each example as the model sees them, and its label.

    `vocabulary` is the model's: a GPT's special embeddings come after it.
    """
    for row, sequences in enumerate(batch["tokens"]):
        lengths = batch["lengths"][row].tolist()
        pieces = [
            _pieces(ids[:n], corpus.tokenizer, vocabulary) for ids, n in zip(sequences, lengths, strict=True)
        ]
        of = f"{' + '.join(map(str, lengths))} of {sequences.shape[1]} tokens"
        more, text = label_text(pieces, batch["labels"][row], batch["label_weights"][row])
        yield f"{of}{more}", text


def _pieces(ids: np.ndarray, tokenizer: Tokenizer, vocabulary: int) -> list[str]:
    """Tokens in the vocabulary's spelling."""
    return [
        str(tokenizer.id_to_token(index)) if index < vocabulary else SPECIAL_NAMES[index - vocabulary]
        for index in ids.tolist()
    ]


def _pair(row: Batch, tokenizer: Tokenizer) -> tuple[str, str]:
    length = int(row["lengths"])
    pieces = [str(tokenizer.id_to_token(index)) for index in row["tokens"][:length].tolist()]
    title = f"{length} of {len(row['tokens'])} tokens"
    if "positions" in row:
        real = row["weights"] > 0
        for position, target in zip(row["positions"][real], row["targets"][real], strict=True):
            pieces[position] += f"«{tokenizer.id_to_token(int(target))}»"
        relation = "B is random" if row["next_targets"] else "B follows A"
        title += f", {real.sum()} predicted, {relation}"
    second = int(np.argmax(row["segments"]))  # where B begins
    texts = (" ".join(part).replace(" ##", "") for part in (pieces[:second], pieces[second:]))
    return title, "\n".join(f"{name}: {text}" for name, text in zip("AB", texts, strict=True))
