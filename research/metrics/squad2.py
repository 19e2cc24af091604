"""SQuAD 2.0's metrics (Rajpurkar et al., 2018): some questions have no answer, and the right one is empty.

Numbers are percentages, as in the official script: over all questions, over those with and without an answer,
and the best for any threshold on the no-answer odds, with that threshold.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from research.errors import UsageError
from research.io.text import read_json
from research.metrics.squad import answer_f1, exact_match, normalized

Scores = dict[str, float]  # question → 0 to 1


class Prediction(NamedTuple):
    """The best span for a question, and the odds of no answer against it."""

    text: str
    null_odds: float


MISSING = Prediction("", 0.0)


def measure(
    answers: Mapping[str, Sequence[str]], predictions: Mapping[str, Prediction], threshold: float
) -> dict[str, float]:
    """The metrics of `predictions`; missing ones, and those with odds above `threshold`, are empty answers.

    Thresholds have the units of the odds, as task.null_threshold does.
    """
    found = {name: predictions.get(name, MISSING) for name in answers}
    exact, f1 = _scores(answers, {name: final_text(one, threshold) for name, one in found.items()})
    spans = {name: one.text for name, one in found.items()}
    odds = {name: one.null_odds for name, one in found.items()}
    best_exact, best_f1 = (_best(scores, answers, spans, odds) for scores in _scores(answers, spans))
    has_answer = [name for name in answers if answers[name]]
    none = answers.keys() - set(has_answer)
    return {
        "exact_match": _mean(exact, answers),
        "f1": _mean(f1, answers),
        "has_answer_exact_match": _mean(exact, has_answer),
        "has_answer_f1": _mean(f1, has_answer),
        "no_answer_accuracy": _mean(exact, none),
        "best_exact_match": best_exact.score,
        "best_exact_match_threshold": best_exact.threshold,
        "best_f1": best_f1.score,
        "best_f1_threshold": best_f1.threshold,
    }


def final_text(prediction: Prediction, threshold: float) -> str:
    """The answer, as run_squad decides."""
    return "" if prediction.null_odds > threshold else prediction.text


def _references(answers: Sequence[str]) -> list[str]:
    """The answers that are nonempty after normalization; without any, the empty answer."""
    return [answer for answer in answers if normalized(answer)] or [""]


def _scores(answers: Mapping[str, Sequence[str]], given: Mapping[str, str]) -> tuple[Scores, Scores]:
    exact, f1 = {}, {}
    for name, references in answers.items():
        text, references = given[name], _references(references)
        exact[name] = float(any(exact_match(text, one) for one in references))
        f1[name] = max(answer_f1(text, one) for one in references)
    return exact, f1


class _Best(NamedTuple):
    score: float
    threshold: float  # the highest odds of a question that is answered


def _best(
    scores: Scores, answers: Mapping[str, Sequence[str]], spans: Mapping[str, str], odds: Mapping[str, float]
) -> _Best:
    """The highest mean when answering the questions with the lowest odds, and its threshold.

    If answering none is best, the threshold is below all odds.
    """
    total = best = float(sum(not references for references in answers.values()))  # all are left empty
    threshold = min(odds.values()) - 1
    for name in sorted(answers, key=lambda name: odds[name]):
        total += scores[name] if answers[name] else -float(bool(spans[name]))
        if total > best:
            best, threshold = total, odds[name]
    return _Best(100 * best / len(answers), threshold)


def _mean(scores: Scores, names: Collection[str]) -> float:
    return 100 * sum(scores[name] for name in names) / len(names) if names else 0.0


def read_odds(path: Path) -> dict[str, float]:
    """A JSON object, question → odds of no answer, as run_squad's null_odds.json.

    Raises UsageError for anything else.
    """
    odds = read_json(path)
    values = odds.values() if isinstance(odds, dict) else [None]
    if not all(isinstance(one, float | int) and math.isfinite(one) for one in values):
        raise UsageError(f"{path}: expected a JSON object of finite numbers, question → odds of no answer")
    return odds
