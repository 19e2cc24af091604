"""A batch as a person reads it."""

from collections.abc import Iterator

import numpy as np
from tokenizers import Tokenizer

from research.config import Experiment
from research.data.store.token_store import Corpus

Batch = dict[str, np.ndarray]

MARKS = ("<start>", "<delimiter>", "<classify>")  # as research.data.finetuning.inputs counts them


def readable(batch: Batch, tokenizer: Tokenizer) -> Iterator[tuple[str, str]]:
    """(what it is, text) of every row. A masked token is shown as it is seen, with «what it was»."""
    for row in range(len(batch["tokens"])):
        one = {name: array[row] for name, array in batch.items()}
        yield _pair(one, tokenizer) if "segments" in batch else _window(one, tokenizer)


def answers(batch: Batch, corpus: Corpus, config: Experiment) -> Iterator[tuple[str, str]]:
    """(what it is, its sequences as the model sees them) of every example of a labelled task."""
    kind, names = config.objective.name, config.task.labels
    for row, sequences in enumerate(batch["tokens"]):
        lengths = batch["lengths"][row].tolist()
        texts = [_pieces(ids[:n], corpus, config) for ids, n in zip(sequences, lengths, strict=True)]
        of = f"{' + '.join(map(str, lengths))} of {sequences.shape[1]} tokens"
        label = batch["labels"][row]
        if kind == "regression":
            yield f"{of}, {label:g}", "\n".join(map(" ".join, texts))
        elif kind == "spans":
            begin, end = label.tolist()
            answer = " ".join(texts[0][begin : end + 1]) if begin else "not in this window"
            yield f"{of}, answer: {answer}", " ".join(texts[0])
        elif kind == "tags":
            real = batch["label_weights"][row] > 0
            yield (
                of,
                " ".join(
                    f"{piece}/{names[tag]}" if told else piece
                    for piece, tag, told in zip(texts[0], label, real, strict=False)
                ),
            )
        else:
            yield f"{of}, {names[label]}", "\n".join(map(" ".join, texts))


def _pieces(ids: np.ndarray, corpus: Corpus, config: Experiment) -> list[str]:
    """Tokens as the vocabulary spells them; a GPT's marks by their names."""
    first = config.model.vocabulary
    return [
        corpus.tokenizer.id_to_token(index) if index < first else MARKS[index - first]
        for index in ids.tolist()
    ]


def _window(row: Batch, tokenizer: Tokenizer) -> tuple[str, str]:
    ids = [*row["tokens"].tolist(), int(row["targets"][-1])]
    return f"{len(row['tokens'])} tokens", tokenizer.decode(ids, skip_special_tokens=False)


def _pair(row: Batch, tokenizer: Tokenizer) -> tuple[str, str]:
    length, segments = int(row["lengths"]), row["segments"]
    pieces = [tokenizer.id_to_token(index) for index in row["tokens"][:length].tolist()]
    real = row["weights"] > 0
    for position, target in zip(row["positions"][real], row["targets"][real], strict=True):
        pieces[position] += f"«{tokenizer.id_to_token(int(target))}»"
    texts = [
        " ".join(piece for piece, segment in zip(pieces, segments, strict=False) if segment == which)
        for which in range(2)
    ]
    relation = "B is random" if row["next_targets"] else "B follows A"
    what = f"{length} of {len(row['tokens'])} tokens, {real.sum()} predicted, {relation}"
    return what, "\n".join(
        f"{name}: " + text.replace(" ##", "") for name, text in zip("AB", texts, strict=True)
    )
