"""Answers from the logits of starts and ends, as in run_squad of google-research/bert.

Shapes: W windows, L data.length.
"""

from typing import NamedTuple

import numpy as np

from research.config import Task
from research.data.finetuning.question_answering import Question, Split


class Answer(NamedTuple):
    text: str
    score: float  # the sum of both logits
    probability: float  # among the best


def null_scores(split: Split, logits_WL2: np.ndarray) -> dict[str, float]:
    """The no-answer score of each question: the minimum over its windows of the sum of [CLS]'s logits."""
    scores: dict[str, float] = {}
    for (number, _, _), score in zip(split.windows.tolist(), logits_WL2[:, 0].sum(-1).tolist(), strict=True):
        name = split.questions[number].name
        scores[name] = min(score, scores.get(name, score))
    return scores


def best_answers(split: Split, logits_WL2: np.ndarray, task: Task) -> dict[str, list[Answer]]:
    """The `task.best` answers to each question, best first; an empty one if no span is valid."""
    windows: dict[int, list[int]] = {}
    for window, (number, _, _) in enumerate(split.windows.tolist()):
        windows.setdefault(number, []).append(window)
    return {
        question.name: _nbest(question, split.windows[windows[number]], logits_WL2[windows[number]], task)
        for number, question in enumerate(split.questions)
    }


def _nbest(question: Question, windows: np.ndarray, logits_WL2: np.ndarray, task: Task) -> list[Answer]:
    shift, found = len(question.tokens) + 2, []
    richest = most_context(windows)
    for window, (_, begin, count) in enumerate(windows.tolist()):
        starts, ends = (_highest(logits_WL2[window, :, which], task.best) for which in range(2))
        start, end = (x.ravel() for x in np.meshgrid(starts, ends, indexing="ij"))
        fits = (start >= shift) & (end < shift + count) & (start <= end) & (end - start < task.answer)
        start, end = start[fits], end[fits]
        kept = richest[begin + start - shift] == window
        start, end = start[kept], end[kept]
        scores = logits_WL2[window, start, 0] + logits_WL2[window, end, 1]
        found += zip(scores.tolist(), start - shift + begin, end - shift + begin, strict=True)
    best: dict[str, float] = {}
    for score, first, last in sorted(found, key=lambda one: -one[0]):
        if len(best) == task.best:
            break
        best.setdefault(text_of(question, first, last), score)
    best = best or {"": 0.0}
    shares = np.exp(np.array(list(best.values())) - max(best.values()))
    return [
        Answer(text, score, share)
        for (text, score), share in zip(best.items(), (shares / shares.sum()).tolist(), strict=True)
    ]


def most_context(windows: np.ndarray) -> np.ndarray:
    """The window in which each token has the most context; answers may start only there.

    The context is the smaller side; a hundredth of the window's length breaks ties.
    """
    places = np.arange(max(begin + count for _, begin, count in windows))
    scores = np.full((len(windows), len(places)), -np.inf)
    for window, (_, begin, count) in enumerate(windows.tolist()):
        inside = (places >= begin) & (places < begin + count)
        around = np.minimum(places - begin, begin + count - 1 - places) + 0.01 * count
        scores[window, inside] = around[inside]
    return scores.argmax(0)


def text_of(question: Question, first: int, last: int) -> str:
    """The text of a span of the paragraph, by token offsets, with single white space."""
    paragraph = question.paragraph
    begin, end = paragraph.offsets[first, 0], paragraph.offsets[last, 1]
    return " ".join(paragraph.text[begin:end].split())


def _highest(scores_L: np.ndarray, count: int) -> np.ndarray:
    """Indices of the highest; of equal ones the first."""
    return np.argsort(-scores_L, kind="stable")[:count]
