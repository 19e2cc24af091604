"""SQuAD 1.1's metrics (Rajpurkar et al., 2016), and CoQA's: exact match and F1 of words, in percent.

Answers are compared in lower case, without punctuation, articles and extra white space; the best of several
reference answers counts.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from research.errors import UsageError
from research.io.text import read_json

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def score(answers: Mapping[str, Sequence[str]], predictions: Mapping[str, str]) -> dict[str, float]:
    """`exact_match` and `f1` of `predictions`, by question id as `answers`; missing ones are wrong."""
    exact = f1 = 0.0
    for question, references in answers.items():
        if question in predictions:
            exact += max(exact_match(predictions[question], reference) for reference in references)
            f1 += max(word_f1(predictions[question], reference) for reference in references)
    return {"exact_match": 100 * exact / len(answers), "f1": 100 * f1 / len(answers)}


def exact_match(prediction: str, reference: str) -> bool:
    return normalized(prediction) == normalized(reference)


def word_f1(prediction: str, reference: str) -> float:
    """The harmonic mean of precision and recall of words."""
    ours, theirs = normalized(prediction).split(), normalized(reference).split()
    same = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * same / (len(ours) + len(theirs)) if same else 0.0


def answer_f1(text: str, reference: str) -> float:
    """F1 of words; if one is empty after normalization, 1 if both are."""
    if not normalized(text) or not normalized(reference):
        return float(normalized(text) == normalized(reference))
    return word_f1(text, reference)


def leave_one_out(references: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """CoQA's exact match and F1 (Reddy et al., 2019), in percent, of a prediction for each question.

    Each of several reference answers is left out in turn, and the best match among the others counts; the
    score is the mean. Models are so scored like people, whose answers are compared with those of others.
    """
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


def normalized(answer: str) -> str:
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def read_answers(path: Path) -> dict[str, list[str]]:
    """Reads reference answers by question id from a SQuAD file; raises UsageError for other files.

    Questions of SQuAD 2.0 may have none.
    """
    content = read_json(path)
    try:
        answers = {
            question["id"]: [answer["text"] for answer in question["answers"]]
            for article in content["data"]
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        }
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: not SQuAD's form, data → paragraphs → qas: {error!r}") from None
    if not any(answers.values()):
        raise UsageError(f"{path}: has {'no answers' if answers else 'no questions'}")
    return answers


def read_predictions(path: Path) -> dict[str, str]:
    """Reads a JSON object, question → answer; raises UsageError for anything else."""
    predictions = read_json(path)
    if not isinstance(predictions, dict) or not all(isinstance(text, str) for text in predictions.values()):
        raise UsageError(f"{path}: expected a JSON object of texts, question → answer")
    return predictions
