"""Log-probabilities of texts under a GPT: of all of a stream, or of continuations of contexts.

Shapes: B batch, L length, V vocabulary.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from research.models.gpt import GPT

GRAIN = 64  # lengths are rounded up to its multiples, so that few of them are compiled
LOGITS = 1 << 26  # at most so many are made at once


class Pair(NamedTuple):
    """What is given, one token or more, and what is judged."""

    context: Sequence[int]
    continuation: Sequence[int]


class Score(NamedTuple):
    log_probability: float  # of the continuation, nats
    greedy: bool  # each of its tokens is the likeliest


class Window(NamedTuple):
    """Tokens that are read, and how many of the last of them are judged."""

    tokens: np.ndarray
    judged: int


def windows(ids: Sequence[int] | np.ndarray, context: int, stride: int) -> Iterator[Window]:
    """A stream in overlapping stretches: every token but the first is judged exactly once.

    The first window judges `context` tokens; each that follows judges `stride` more (the last one what is
    left), given as many tokens before them as fit.
    """
    ids = np.asarray(ids, np.int32)
    begin, end = 1, min(context, len(ids) - 1) + 1
    while begin < len(ids):
        yield Window(ids[max(end - context - 1, 0) : end], end - begin)
        begin, end = end, min(end + stride, len(ids))


def log_likelihood(model: GPT, ids: Sequence[int] | np.ndarray, stride: int, batch: int) -> float:
    """The log-probability in nats of all tokens but the first."""
    context = model.config.context
    judged = windows(ids, context, stride)
    return float(sum(score.log_probability for score in score_windows(model, judged, batch)))


def score_pairs(model: GPT, pairs: Sequence[Pair], batch: int) -> list[Score]:
    """In their order; a context too long loses its beginning, a continuation too long all but its end."""
    context = model.config.context
    cut = []
    for pair in pairs:
        tokens = np.asarray([*pair.context, *pair.continuation][-(context + 1) :], np.int32)
        cut.append(Window(tokens, min(len(pair.continuation), len(tokens) - 1)))
    order = sorted(range(len(cut)), key=lambda n: -len(cut[n].tokens))  # alike together, the longest first
    scores: list[Score | None] = [None] * len(cut)
    for n, score in zip(order, score_windows(model, (cut[n] for n in order), batch), strict=True):
        scores[n] = score
    return scores


def score_windows(
    model: GPT, windows: Iterable[Window], batch: int, banned_V: np.ndarray | None = None
) -> Iterator[Score]:
    """Of each window in turn. Of `banned_V` (boolean) none may be the likeliest first token."""
    group: list[Window] = []
    for window in windows:
        group.append(window)
        if len(group) == batch:
            yield from _scores(model, group, batch, banned_V)
            group = []
    if group:
        yield from _scores(model, group, batch, banned_V)


def _scores(model: GPT, group: list[Window], batch: int, banned_V) -> Iterator[Score]:
    longest = max(len(window.tokens) for window in group) - 1
    length = min(-(-longest // GRAIN) * GRAIN, model.config.context)
    tokens_BL, targets_BL = (np.zeros((batch, length), np.int32) for _ in range(2))
    firsts_BL = np.zeros((batch, length), bool)
    for n, window in enumerate(group):
        size = len(window.tokens) - 1
        tokens_BL[n, :size], targets_BL[n, :size] = window.tokens[:-1], window.tokens[1:]
        firsts_BL[n, size - window.judged] = True
    if banned_V is None:
        banned_V = np.zeros(model.config.vocabulary, bool)
    log_BL, hits_BL = jax.device_get(_judge(model, tokens_BL, targets_BL, firsts_BL, banned_V))
    for n, window in enumerate(group):
        judged = slice(len(window.tokens) - 1 - window.judged, len(window.tokens) - 1)
        total = float(log_BL[n, judged].sum(dtype=np.float64))
        yield Score(total, bool(hits_BL[n, judged].all()))


@jax.jit
def _judge(model: GPT, tokens_BL, targets_BL, firsts_BL, banned_V: Array) -> tuple[Array, Array]:
    """Log-probabilities of the targets, and whether each is the likeliest: (B, L)."""
    x_BLD = model.features(tokens_BL)
    B, L = tokens_BL.shape
    fits = max(LOGITS // (B * len(banned_V)), 1)
    at_once = max(n for n in range(1, L + 1) if L % n == 0 and n <= fits)

    def judge(piece):
        x, targets, firsts = piece
        logits = model.logits(x)
        log_z = jax.nn.logsumexp(logits, axis=-1)
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        allowed = jnp.where(firsts[..., None] & banned_V, -jnp.inf, logits)
        return chosen - log_z, allowed.argmax(-1) == targets

    arrays = (x_BLD, targets_BL, firsts_BL)
    pieces = tuple(x.reshape(B, -1, at_once, *x.shape[2:]).swapaxes(0, 1) for x in arrays)
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(B, L), lax.map(judge, pieces))
