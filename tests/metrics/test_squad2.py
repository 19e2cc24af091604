"""SQuAD 2.0's figures, worked by hand by the rules of its official script."""

import json

import pytest

from launch.__main__ import run
from research.metrics.squad2 import Prediction, final_text, measure

ANSWERS = {"a": ["red cat"], "b": [], "c": ["the"], "d": ["dog", "big dog"]}  # c's normalizes to nothing
GIVEN = {
    "a": Prediction("cat", -4.0),
    "b": Prediction("wrong", 3.0),
    "c": Prediction("wrong", -1.0),
    "d": Prediction("Dog!", 1.0),
}


def test_by_hand():
    found = measure(ANSWERS, GIVEN, threshold=0.0)
    f1 = 2 * 1 / (1 + 2)  # of a; b is left empty and right, c is not, d is left empty and wrong
    assert found["exact_match"] == 25 and found["f1"] == pytest.approx(100 * (f1 + 1) / 4)
    assert found["has_answer_exact_match"] == 0 and found["has_answer_f1"] == pytest.approx(100 * f1 / 3)
    assert found["no_answer_accuracy"] == 100
    # By their odds a, c, d, b: 1 if all are empty, then F1 + f1, + 0, + 1, - 1; exactly 0, 0, 1, -1.
    assert found["best_f1"] == pytest.approx(100 * (2 + f1) / 4) and found["best_exact_match"] == 50
    higher = measure(ANSWERS, GIVEN, threshold=2.0)
    assert higher["exact_match"] == 50 and higher["has_answer_exact_match"] == pytest.approx(100 / 3)


def test_a_missing_prediction_is_empty():
    found = measure(ANSWERS, {}, threshold=0.0)
    assert found["exact_match"] == found["f1"] == found["best_f1"] == 50
    assert found["no_answer_accuracy"] == 100


def test_the_threshold_is_as_run_squads():
    assert final_text(Prediction("x", 0.0), 0.0) == "x" and final_text(Prediction("x", 0.1), 0.0) == ""


def test_files_are_scored(tmp_path, capsys):
    questions = [
        {"id": name, "question": "?", "answers": [{"text": text, "answer_start": 0} for text in texts]}
        for name, texts in ANSWERS.items()
    ]
    data = {"data": [{"paragraphs": [{"context": "", "qas": questions}]}]}
    (tmp_path / "dev.json").write_text(json.dumps(data))
    (tmp_path / "given.json").write_text(json.dumps({"a": "red cat", "b": "", "c": "", "d": "bird"}))
    typed = ["--data", tmp_path / "dev.json", "--predictions", tmp_path / "given.json", "--json"]
    assert run(["evaluate", "--task", "squad", *map(str, typed)]) == 0
    found = json.loads(capsys.readouterr().out)["squad"]
    assert (
        found["exact_match"] == 75
        and found["has_answer_f1"] == pytest.approx(200 / 3)
        and found["no_answer_accuracy"] == 100
    )
    assert "best_f1" not in found and (found["examples"], found["missing"]) == (4, 0)
