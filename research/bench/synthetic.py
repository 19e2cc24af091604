"""Batches to measure with: an experiment's shapes, filled with random tokens or with those of a file.

Random, not zeros: equal rows would make gathers and softmaxes cheaper than they are.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from research.config import Experiment
from research.data.examples import Batch
from research.data.sources import token_files
from research.errors import UsageError
from research.objectives import objective_of


def batches(experiment: Experiment, tokens: np.ndarray | None = None) -> Iterator[Batch]:
    """One after the other without end, the same ones every time. `tokens` (n,) are cut at random places."""
    random = np.random.default_rng(0)
    rows = partial(_rows, experiment.model.vocabulary, random, tokens)
    objective = objective_of(experiment.objective)
    declared = objective.batch_shapes(experiment)
    while True:
        batch = objective.synthetic(experiment, random, rows)
        for name in sorted(declared.keys() ^ batch.keys()):
            places = "a batch of `synthetic`", "batch_shapes"
            there, missing = places if name in batch else reversed(places)
            raise UsageError(
                f"objective.name={experiment.objective.name}: {name} is in {there}, and not in {missing}"
            )
        yield batch


def read_tokens(path: Path, length: int, vocabulary: int) -> np.ndarray:
    """Those of a file, as `tokens:` reads it.

    Raises UsageError if there is no such file, too little in it, or a token out of the vocabulary.
    """
    tokens = token_files.read(path)
    if len(tokens) <= length:
        raise UsageError(f"{path}: holds {len(tokens)} tokens; expected {length + 1} or more")
    if (largest := int(tokens.max())) >= vocabulary:
        raise UsageError(f"{path}: holds token {largest}; expected all below model.vocabulary={vocabulary}")
    return tokens


def _rows(
    vocabulary: int, random: np.random.Generator, tokens: np.ndarray | None, count: int, length: int
) -> np.ndarray:
    """int32 (count, length)."""
    if tokens is None:
        return random.integers(vocabulary, size=(count, length), dtype=np.int32)
    starts = random.integers(len(tokens) - length + 1, size=count)
    return np.stack([tokens[start : start + length] for start in starts]).astype(np.int32)
