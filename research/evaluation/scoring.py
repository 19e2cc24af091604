"""Log-probabilities of texts under a GPT: of a whole token stream, or of continuations of contexts.

Shapes: B batch, L length, S scored tokens, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from research.generation.sampling import PAD_MULTIPLE, round_up
from research.io.activity import activity
from research.models.gpt import GPT

MAX_LOGITS = 1 << 24  # elements of the largest logits array; longer sequences are scored in chunks

# (logits (B, S, V), targets (B, S), whether a target is its window's first (B, S), marks of the vocabulary)
Measure = Callable[[Any, Any, Any, Any], tuple[Array, ...]]


class Pair(NamedTuple):
    """A context of at least one token, and the continuation to score."""

    context: Sequence[int]
    continuation: Sequence[int]


class Score(NamedTuple):
    log_probability: float  # of the continuation, in nats
    greedy: bool  # whether each of its tokens is the most likely one
    greedy_allowed: bool  # the same, if no banned token may be the first


class Window(NamedTuple):
    """Tokens to read, and how many of the last of them to score."""

    tokens: np.ndarray
    scored: int


def windows(ids: Sequence[int] | np.ndarray, context: int, stride: int) -> Iterator[Window]:
    """Overlapping windows of a token stream that score every token except the first exactly once.

    The first window scores `context` tokens. Each later window scores the next `stride` tokens, the last one
    fewer, with as many tokens before them as fit into the context.
    """
    ids = np.asarray(ids, np.int32)
    begin, end = 1, min(context, len(ids) - 1) + 1
    while begin < len(ids):
        yield Window(ids[max(end - context - 1, 0) : end], end - begin)
        begin, end = end, min(end + stride, len(ids))


def log_likelihood(model: GPT, ids: Sequence[int] | np.ndarray, stride: int, batch: int) -> float:
    """The log-probability, in nats, of all tokens except the first."""
    scores = score_windows(model, windows(ids, model.config.context, stride), batch)
    return float(sum(score.log_probability for score in scores))


def score_pairs(
    model: GPT, pairs: Sequence[Pair], batch: int, banned_V: np.ndarray | None = None
) -> list[Score]:
    """Score each pair, in order. Pairs that are longer than the model's context are cut at the beginning.

    `banned_V` (bool) marks the tokens that `Score.greedy_allowed` excludes.
    """
    context = model.config.context
    cut = []
    for pair in pairs:
        tokens = np.asarray([*pair.context, *pair.continuation][-(context + 1) :], np.int32)
        cut.append(Window(tokens, min(len(pair.continuation), len(tokens) - 1)))
    order = sorted(range(len(cut)), key=lambda n: -len(cut[n].tokens))  # longest first, similar ones together
    scores = dict(zip(order, score_windows(model, (cut[n] for n in order), batch, banned_V), strict=True))
    return [scores[n] for n in range(len(cut))]


def score_windows(
    model: GPT, windows: Iterable[Window], batch: int, banned_V: np.ndarray | None = None
) -> Iterator[Score]:
    """Score each window, in order; `banned_V` as in `score_pairs`."""
    group: list[Window] = []
    with activity("scoring") as show:
        for number, window in enumerate(windows, 1):
            group.append(window)
            if len(group) == batch:
                yield from _scores(model, group, batch, banned_V)
                show(f"{number:,} windows")
                group = []
        if group:
            yield from _scores(model, group, batch, banned_V)


def _scores(model: GPT, group: list[Window], batch: int, banned_V) -> Iterator[Score]:
    for log_S, hits_S, allowed_S in measured(model, group, batch, _hits, banned_V):
        yield Score(float(log_S.sum(dtype=np.float64)), bool(hits_S.all()), bool(allowed_S.all()))


def measured(
    model: GPT, group: Sequence[Window], rows: int, measure: Measure, marks_V: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, ...]]:
    """Arrays (S,) that `measure` gives for the scored tokens of each window, in a batch padded to `rows`.

    `measure` is a function of a module: compiled programs are found by it.
    """
    longest, most = max(len(window.tokens) for window in group) - 1, max(window.scored for window in group)
    length = min(rounded(longest), model.config.context)
    scored = min(1 << (most - 1).bit_length(), length)  # a power of 2, so that few shapes are compiled
    tokens_BL = np.zeros((rows, length), np.int32)
    places_BS, targets_BS = (np.zeros((rows, scored), np.int32) for _ in range(2))
    for n, (tokens, count) in enumerate(group):
        tokens_BL[n, : len(tokens) - 1] = tokens[:-1]
        targets_BS[n, :count] = tokens[len(tokens) - count :]
        places_BS[n, :count] = np.arange(len(tokens) - 1 - count, len(tokens) - 1)
    found = jax.device_get(_measured(model, tokens_BL, places_BS, targets_BS, marks_V, measure))
    for n, (_, count) in enumerate(group):
        yield tuple(x_BS[n, :count] for x_BS in found)


def rounded(length: int) -> int:
    """A power of 2 from 8, and from 64 a multiple of 64, so that few shapes are compiled."""
    return max(1 << (length - 1).bit_length(), 8) if length <= PAD_MULTIPLE else round_up(length)


@partial(jax.jit, static_argnames="measure")
def _measured(model: GPT, tokens_BL, places_BS, targets_BS, marks_V, measure: Measure) -> tuple[Array, ...]:
    """`measure`, in chunks of the positions after which the targets come."""
    x_BSD = jnp.take_along_axis(model.features(tokens_BL), places_BS[..., None], axis=1)
    B, S = targets_BS.shape
    fits = max(MAX_LOGITS // (B * model.config.vocabulary), 1)
    chunk = max(n for n in range(1, S + 1) if S % n == 0 and n <= fits)

    def score(arrays):
        x, targets, firsts = arrays
        return measure(model.logits(x), targets, firsts, marks_V)

    arrays = (x_BSD, targets_BS, jnp.broadcast_to(jnp.arange(S) == 0, (B, S)))
    chunks = tuple(x.reshape(B, -1, chunk, *x.shape[2:]).swapaxes(0, 1) for x in arrays)
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(B, S), lax.map(score, chunks))


def _hits(logits, targets, firsts, banned_V) -> tuple[Array, Array, Array]:
    """Log-probabilities, hits among all tokens, and hits without those that may not be the first."""
    log_z = jax.nn.logsumexp(logits, axis=-1)
    target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    hits = logits.argmax(-1) == targets
    if banned_V is None:
        return target_logits - log_z, hits, hits
    allowed = jnp.where(firsts[..., None] & banned_V, -jnp.inf, logits)
    return target_logits - log_z, hits, allowed.argmax(-1) == targets
