"""Tokens under a GPT, from left to right; long texts in windows that overlap by half of the context."""

from collections.abc import Sequence

import numpy as np

from research.evaluation.scoring import Window, measured, windows
from research.evaluation.surprisal.distributions import Measures, batches, measure
from research.models.gpt import GPT


def measures(
    model: GPT, texts: Sequence[Sequence[int]], start: int | None, kinds_V: np.ndarray | None = None
) -> list[Measures]:
    """The measures of each text's tokens. `start` is a token to read before a text; without one, the first
    token of a text is not predicted. With `kinds_V`, also of their kinds.
    """
    before = [] if start is None else [start]
    after = [] if kinds_V is None else [int(np.flatnonzero(kinds_V)[-1])]  # any that may follow a word
    context, stride = model.config.context, max(model.config.context // 2, 1)
    parts: list[Window] = []
    counts = []
    for ids in texts:
        found = list(windows([*before, *ids, *after], context, stride)) if len(ids) else []
        parts += found
        counts.append(len(found))
    measured_parts: dict[int, tuple[np.ndarray, ...]] = {}
    for indices, rows in batches([len(part.tokens) - 1 for part in parts]):
        group = [parts[index] for index in indices]
        measured_parts |= zip(indices, measured(model, group, rows, measure, kinds_V), strict=True)
    ends = np.cumsum(counts, dtype=np.int64)
    return [
        _joined([measured_parts[n] for n in range(end - count, end)], len(ids), kinds_V is not None)
        for ids, count, end in zip(texts, counts, ends, strict=True)
    ]


def _joined(parts: list[tuple[np.ndarray, ...]], size: int, kinds: bool) -> Measures:
    """The measures of a text of `size` tokens from those of its windows, which may lack the first token."""
    if not parts:
        parts = [tuple(np.zeros(0) for _ in range(4))]
    log_, entropies, ranks, *more = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    missing = size + kinds - len(log_) if size else 0
    log_, entropies = (np.concatenate([np.full(missing, np.nan), x])[:size] for x in (log_, entropies))
    ranks = np.concatenate([np.zeros(missing, np.int64), ranks])[:size].astype(np.int64)
    found = np.concatenate([np.full(missing, np.nan), more[0]]) if kinds and more else np.zeros(0)
    return Measures(log_, entropies, ranks, found)
