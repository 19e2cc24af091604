"""The official figures, and answers worked by hand."""

import json

import pytest

from launch.__main__ import run
from research.errors import UsageError
from research.metrics.squad import (
    exact_match,
    leave_one_out,
    normalized,
    read_answers,
    read_predictions,
    score,
    word_f1,
)


def test_official_figures(shared_data, capsys):
    folder = shared_data / "qa/squad"
    arguments = [
        "--predictions",
        folder / "predictions/logreg_baseline.json",
        "--data",
        folder / "dev-v1.1.json",
    ]
    assert run(["evaluate", "--task", "squad", "--json", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)["squad"]
    assert (round(found["exact_match"], 3), round(found["f1"], 3)) == (40.142, 50.982)
    assert err.count("\n") == 1 and "13 of 10570" in err


def test_by_hand():
    assert normalized("  The U.S.  of the-n America! ") == "us of then america"  # marks go before articles
    assert exact_match("the Cat", "cat.") and not exact_match("cats", "cat")
    assert word_f1("a red red cat", "red cat sat") == 2 * 2 / (3 + 3)
    assert word_f1("dog", "cat") == 0
    answers = {"one": ["Paris", "the city of Paris"], "two": ["1912"], "three": ["x"]}
    found = score(answers, {"one": "city Paris", "two": "1912.", "other": "x"})
    assert found == pytest.approx({"exact_match": 100 / 3, "f1": 100 * (2 * 2 / (2 + 3) + 1) / 3})


@pytest.mark.parametrize(
    "text, message", [("[]", "data"), ("{", "not JSON"), ('{"data": []}', "no questions")]
)
def test_files_of_another_form(tmp_path, text, message):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_answers(tmp_path / "file.json")
    with pytest.raises(UsageError, match="JSON"):
        read_predictions(tmp_path / "file.json")


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
def test_coqa_s_scores_are_those_of_its_official_script(prediction, references, exact_match, f1):
    """evaluate-v1.0.py."""
    found = leave_one_out([references], [prediction])
    assert found == pytest.approx({"exact_match": 100 * exact_match, "f1": 100 * f1}, abs=1e-9)


def test_coqa_s_questions_weigh_alike():
    found = leave_one_out([["yes"], ["no", "no way"]], ["yes", "maybe"])
    assert found == {"exact_match": 50.0, "f1": 50.0}
