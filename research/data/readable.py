"""A batch as a person reads it."""

from collections.abc import Iterator

import numpy as np
from tokenizers import Tokenizer

Batch = dict[str, np.ndarray]


def readable(batch: Batch, tokenizer: Tokenizer) -> Iterator[tuple[str, str]]:
    """(what it is, text) of every row. A masked token is shown as it is seen, with «what it was»."""
    for row in range(len(batch["tokens"])):
        one = {name: array[row] for name, array in batch.items()}
        yield _pair(one, tokenizer) if "segments" in batch else _window(one, tokenizer)


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
