"""Beam search with Transformers' length penalty and stopping rule.

Shapes: B rows (prompts × beams), L length, V vocabulary.
"""

import heapq
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax import Array

from research.errors import UsageError
from research.generation.sampling import prefill
from research.models.decoding import Cache, decode, decoder, reorder
from research.models.gpt import GPT


class Beam(NamedTuple):
    """A finished continuation."""

    score: float  # log-probability divided by length ** length_penalty
    tokens: tuple[int, ...]  # includes the end token, if there is one


def beam_search(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    beams: int,
    end: int | None = None,
    length_penalty: float = 1.0,
    early_stopping: bool = False,
) -> list[list[Beam]]:
    """The `beams` best continuations of each prompt, best first.

    A continuation finishes with the token `end` or at length `tokens`. The search for a prompt stops when
    `beams` continuations have finished and the best unfinished one, scored as if it ended now, is no better
    than the worst finished one. With `early_stopping` it stops as soon as `beams` have finished.
    Raises UsageError if a prompt and `tokens` do not fit the context.
    """
    gpt = decoder(model)
    longest, context = max(map(len, prompts)), gpt.config.context
    if longest + tokens > context:
        raise UsageError(
            f"beams: {longest} tokens and {tokens} more; expected at most {context}, the context"
        )
    if 2 * beams > gpt.config.vocabulary:
        raise UsageError(f"beams {beams}: expected at most half the vocabulary, {gpt.config.vocabulary // 2}")
    searches = [_Search(beams, end, length_penalty, early_stopping, tokens) for _ in prompts]
    logits_BV, cache = prefill(gpt, prompts, room=tokens)
    repeated = np.repeat(np.arange(len(prompts)), beams)
    logits_BV, cache = logits_BV[repeated], reorder(cache, repeated)
    scores = np.full((len(prompts), beams), -np.inf, np.float32)
    scores[:, 0] = 0  # all beams are equal at first, so only one counts
    for length in range(1, tokens + 1):
        best, flat_ids = jax.device_get(_best_extensions(logits_BV, scores, 2 * beams))
        origins, next_tokens = np.divmod(flat_ids, gpt.config.vocabulary)
        kept = [one.extend(*found) for one, *found in zip(searches, best, origins, next_tokens, strict=True)]
        if length == tokens or all(one.done for one in searches):
            break
        scores = np.asarray([[score for score, _, _ in row] for row in kept], np.float32)
        rows_B = [n * beams + origin for n, row in enumerate(kept) for _, origin, _ in row]
        next_B1 = [[token] for row in kept for _, _, token in row]
        logits_BV, cache = _step(gpt, np.asarray(next_B1, np.int32), np.asarray(rows_B, np.int32), cache)
    return [sorted(one.finished, reverse=True) for one in searches]


class _Search:
    """The unfinished and finished beams of one prompt."""

    def __init__(self, beams: int, end: int | None, penalty: float, early: bool, longest: int):
        self.beams, self.end, self.penalty, self.early, self.longest = beams, end, penalty, early, longest
        self.open: list[tuple[int, ...]] = [()] * beams
        self.finished: list[Beam] = []  # a heap, worst first
        self.done = False

    def extend(self, scores, origins, tokens) -> list[tuple[float, int, int]]:
        """Take the best extensions, best first; return (score, origin, token) of those that stay open."""
        length = len(self.open[0]) + 1
        kept = []
        for rank, (score, origin, token) in enumerate(
            zip(scores.tolist(), origins.tolist(), tokens.tolist(), strict=True)
        ):
            ended = token == self.end or length == self.longest
            if not ended:
                kept.append((score, origin, token))
            elif rank < self.beams and not self.done:  # a later one would displace better, open beams
                self._finish(Beam(score / length**self.penalty, (*self.open[origin], token)))
        kept = kept[: self.beams]
        if kept:
            self.open = [(*self.open[origin], token) for _, origin, token in kept]
            full = len(self.finished) == self.beams
            hopeless = full and kept[0][0] / length**self.penalty <= self.finished[0].score
            self.done = self.done or hopeless or (self.early and full)
        return kept

    def _finish(self, beam: Beam) -> None:
        if len(self.finished) < self.beams:
            heapq.heappush(self.finished, beam)
        else:
            heapq.heappushpop(self.finished, beam)


@partial(jax.jit, static_argnames="count")
def _best_extensions(logits_BV: Array, scores: Array, count: int) -> tuple[Array, Array]:
    """The `count` best extensions of each prompt's beams: scores and beam × V + token, (prompts, count)."""
    totals_BV = jax.nn.log_softmax(logits_BV) + scores.reshape(-1, 1)
    return jax.lax.top_k(totals_BV.reshape(len(scores), -1), count)


@partial(jax.jit, donate_argnames="cache")
def _step(gpt: GPT, tokens_B1, rows_B, cache: Cache) -> tuple[Array, Cache]:
    x_B1D, cache = decode(gpt, tokens_B1, reorder(cache, rows_B))
    return gpt.logits(x_B1D)[:, 0], cache
