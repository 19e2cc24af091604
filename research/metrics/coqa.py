"""CoQA's metrics (Reddy et al., 2019): exact match and F1 of words, in percent.

With several reference answers, each is left out in turn and the best match among the others counts; the score
is the mean. Models are so scored like people, whose answers are compared with those of others.
"""

from collections.abc import Callable, Sequence

from research.metrics.squad import exact_match
from research.metrics.squad2 import answer_f1


def measure(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """{"exact_match": …, "f1": …} of a prediction for each question, with its reference answers."""
    metrics: dict[str, Callable[[str, str], float]] = {"exact_match": exact_match, "f1": answer_f1}
    pairs = list(zip(references, predictions, strict=True))
    return {
        name: 100 * sum(_leave_one_out(metric, answers, text) for answers, text in pairs) / len(pairs)
        for name, metric in metrics.items()
    }


def _leave_one_out(metric: Callable[[str, str], float], references: Sequence[str], prediction: str) -> float:
    scores = [float(metric(prediction, reference)) for reference in references]
    if len(scores) == 1:
        return scores[0]
    return sum(max(scores[:n] + scores[n + 1 :]) for n in range(len(scores))) / len(scores)
