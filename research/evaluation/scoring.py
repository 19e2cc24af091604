"""Log-probabilities of texts under a GPT: of a whole token stream, or of continuations of contexts.

Shapes: B batch, L length, V vocabulary.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from research.generation.sampling import round_up
from research.io.activity import activity
from research.models.gpt import GPT

MAX_LOGITS = 1 << 26  # elements of the largest logits array; longer sequences are scored in chunks


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
                yield from _score_batch(model, group, batch, banned_V)
                show(f"{number:,} windows")
                group = []
        if group:
            yield from _score_batch(model, group, batch, banned_V)


def _score_batch(model: GPT, group: list[Window], batch: int, banned_V) -> Iterator[Score]:
    longest = max(len(window.tokens) for window in group) - 1
    length = min(round_up(longest), model.config.context)
    tokens_BL, targets_BL = (np.zeros((batch, length), np.int32) for _ in range(2))
    firsts_BL = np.zeros((batch, length), bool)
    for n, window in enumerate(group):
        size = len(window.tokens) - 1
        tokens_BL[n, :size], targets_BL[n, :size] = window.tokens[:-1], window.tokens[1:]
        firsts_BL[n, size - window.scored] = True
    log_BL, hits_BL, allowed_BL = jax.device_get(
        _score_tokens(model, tokens_BL, targets_BL, firsts_BL, banned_V)
    )
    for n, window in enumerate(group):
        scored = slice(len(window.tokens) - 1 - window.scored, len(window.tokens) - 1)
        total = float(log_BL[n, scored].sum(dtype=np.float64))
        yield Score(total, bool(hits_BL[n, scored].all()), bool(allowed_BL[n, scored].all()))


@jax.jit
def _score_tokens(model: GPT, tokens_BL, targets_BL, firsts_BL, banned_V) -> tuple[Array, Array, Array]:
    """Log-probability of each target, and whether it is the most likely token, of all and of allowed ones.

    All are (B, L).
    """
    x_BLD = model.features(tokens_BL)
    B, L = tokens_BL.shape
    fits = max(MAX_LOGITS // (B * model.config.vocabulary), 1)
    chunk = max(n for n in range(1, L + 1) if L % n == 0 and n <= fits)

    def score(arrays):
        x, targets, firsts = arrays
        logits = model.logits(x)
        log_z = jax.nn.logsumexp(logits, axis=-1)
        target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        hits = logits.argmax(-1) == targets
        if banned_V is None:
            return target_logits - log_z, hits, hits
        allowed = jnp.where(firsts[..., None] & banned_V, -jnp.inf, logits)
        return target_logits - log_z, hits, allowed.argmax(-1) == targets

    arrays = (x_BLD, targets_BL, firsts_BL)
    chunks = tuple(x.reshape(B, -1, chunk, *x.shape[2:]).swapaxes(0, 1) for x in arrays)
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(B, L), lax.map(score, chunks))
