"""Batches for measuring: an experiment's shapes, filled with random tokens or with those of a file.

Random, not zeros: equal rows would make gathers and softmaxes cheaper than they are.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from research.config import Experiment
from research.data.shapes import batch_shapes
from research.errors import UsageError

Batch = dict[str, np.ndarray]


def batches(experiment: Experiment, tokens: np.ndarray | None = None) -> Iterator[Batch]:
    """One after the other without end, the same ones every time. `tokens` (n,) are cut at random places."""
    random = np.random.default_rng(0)
    make = labelled if experiment.labelled else MAKERS[experiment.objective.name]
    while True:
        yield make(experiment, random, tokens)


def next_token(experiment: Experiment, random: np.random.Generator, tokens: np.ndarray | None) -> Batch:
    B, L = experiment.data.batch, experiment.data.length
    rows = _rows(experiment, random, tokens, B, L + 1)
    batch = {"tokens": rows[:, :-1], "targets": rows[:, 1:], "weights": np.ones((B, L), np.float32)}
    return batch | ({"documents": _halves(B, L)} if experiment.data.attend == "document" else {})


def masked_token(experiment: Experiment, random: np.random.Generator, tokens: np.ndarray | None) -> Batch:
    """Full rows, all their predictions made: what a batch costs at most."""
    B, L, P = experiment.data.batch, experiment.data.length, experiment.data.masking.predictions
    rows = _rows(experiment, random, tokens, B, L)
    positions = np.sort(random.random((B, L)).argsort(1)[:, :P].astype(np.int32), 1)
    return {
        "tokens": rows,
        "segments": _halves(B, L),
        "lengths": np.full(B, L, np.int32),
        "positions": positions,
        "targets": np.take_along_axis(rows, positions, 1),
        "weights": np.ones(positions.shape, np.float32),
        "next_targets": random.integers(2, size=B, dtype=np.int32),
        "next_weights": np.ones(B, np.float32),
    }


def labelled(experiment: Experiment, random: np.random.Generator, tokens: np.ndarray | None) -> Batch:
    """Full sequences, every weight 1: what a batch costs at most."""
    batch = {name: np.ones(shape, kind) for name, (shape, kind) in batch_shapes(experiment).items()}
    B, S, L = batch["tokens"].shape
    batch["tokens"] = _rows(experiment, random, tokens, B * S, L).reshape(B, S, L)
    batch["lengths"] *= L
    if "segments" in batch:
        batch["segments"] = _halves(B * S, L).reshape(B, S, L)
    limit = {"spans": L, "choice": S}.get(experiment.objective.name, experiment.model.outputs)
    labels = batch["labels"]
    batch["labels"] = (limit * random.random(labels.shape)).astype(labels.dtype)
    return batch


MAKERS = {"next_token": next_token, "masked_token": masked_token}


def read_tokens(path: Path, experiment: Experiment) -> np.ndarray:
    """Mapped from .npy, or from raw little-endian uint16 as nanoGPT's and llm.c's .bin.

    Raises UsageError where there is no such file, too little in it, or a token out of the vocabulary.
    """
    try:
        tokens = np.load(path, mmap_mode="r") if path.suffix == ".npy" else np.memmap(path, "<u2", mode="r")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: expected tokens as .npy or as raw uint16: {error}") from None
    need = experiment.data.length + 1
    if tokens.ndim != 1 or tokens.dtype.kind not in "ui" or len(tokens) < need:
        raise UsageError(
            f"{path}: holds {tokens.dtype} {tokens.shape}; expected one row of at least {need} integers"
        )
    if (largest := int(tokens.max())) >= experiment.model.vocabulary:
        raise UsageError(
            f"{path}: holds token {largest}; "
            f"expected all below model.vocabulary={experiment.model.vocabulary}"
        )
    return tokens


def _rows(experiment, random, tokens, rows, length) -> np.ndarray:
    if tokens is None:
        return random.integers(experiment.model.vocabulary, size=(rows, length), dtype=np.int32)
    starts = random.integers(len(tokens) - length + 1, size=rows)
    return np.stack([tokens[start : start + length] for start in starts]).astype(np.int32)


def _halves(rows: int, length: int) -> np.ndarray:
    """0 in the first half of every row, 1 in the second."""
    return np.tile((np.arange(length) >= length // 2).astype(np.int32), (rows, 1))
