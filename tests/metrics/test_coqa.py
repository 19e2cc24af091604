"""CoQA's scores, as its official script (evaluate-v1.0.py) computes them for these answers."""

import pytest

from research.metrics.coqa import measure


@pytest.mark.parametrize(
    "prediction, references, exact_match, f1",
    [
        ("The red cat", ["the cat", "a red cat", "red cats", "cat"], 0.75, 0.9166666666666666),
        ("", ["unknown", "", "no"], 0.6666666666666666, 0.6666666666666666),
        ("yes", ["Yes.", "yes it did", "yes", "no"], 1.0, 1.0),
        ("42", ["42"], 1.0, 1.0),
        ("the", ["a", "red"], 0.5, 0.5),
        (
            "dog's tail ran",
            ["a dogs tail", "the tail of the dog", "dog's tail, ran!"],
            0.6666666666666666,
            0.9333333333333332,
        ),
    ],
)
def test_scores_are_the_official_ones(prediction, references, exact_match, f1):
    found = measure([references], [prediction])
    assert found == pytest.approx({"exact_match": 100 * exact_match, "f1": 100 * f1}, abs=1e-9)


def test_questions_weigh_alike():
    found = measure([["yes"], ["no", "no way"]], ["yes", "maybe"])
    assert found == {"exact_match": 50.0, "f1": 50.0}
