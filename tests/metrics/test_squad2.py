"""SQuAD 2.0's figures, worked by hand by the rules of its official script."""

import json

import pytest

from launch.__main__ import run
from research.metrics.squad import read_answers, read_predictions
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


OFFICIAL = {  # threshold → evaluate-v2.0.py's figures
    0.0: (36.556291390728475, 40.17874266863567, 20.19298992479069, 25.626409820842905, 69.28753902923644),
    2.0: (35.0236518448439, 40.06782730172552, 27.784872995600963, 35.35077828568747, 49.503264263411864),
}
BEST = (38.448438978240304, -3.1, 40.85227416004396, 4.699999999999999)


def test_the_official_scripts_figures(shared_data):
    """SQuAD 1.1's development set, of which every third question has lost its answers; made-up odds."""
    answers = read_answers(shared_data / "qa/squad/dev-v1.1.json")
    answers = {name: texts if n % 3 < 2 else [] for n, (name, texts) in enumerate(answers.items())}
    texts = read_predictions(shared_data / "qa/squad/predictions/logreg_baseline.json")
    given = {
        name: Prediction(texts.get(name, ""), (n * 37 % 101) / 10 - 5 + (0 if answers[name] else 2))
        for n, name in enumerate(answers)
    }
    for threshold, figures in OFFICIAL.items():
        found = list(measure(answers, given, threshold).values())
        assert found == pytest.approx([*figures, *BEST], rel=1e-12)


def test_the_best_threshold_gives_the_best_score():
    best = measure(ANSWERS, GIVEN, threshold=0.0)
    assert best["best_f1_threshold"] == 1.0
    assert measure(ANSWERS, GIVEN, best["best_f1_threshold"])["f1"] == best["best_f1"]
    none = {name: Prediction("wrong", odds) for name, (_, odds) in GIVEN.items()}
    some = {name: ANSWERS[name] for name in "abd"}
    best = measure(some, none, threshold=0.0)
    assert best["best_f1"] == measure(some, none, best["best_f1_threshold"])["f1"] == 100 / 3


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
    (tmp_path / "odds.json").write_text(json.dumps({"a": -1.0, "b": 2, "c": 2, "d": 1.5}))
    typed += ["--null-odds", tmp_path / "odds.json"]
    assert run(["evaluate", "--task", "squad", *map(str, typed)]) == 0
    found = json.loads(capsys.readouterr().out)["squad"]
    assert (found["best_exact_match"], found["best_exact_match_threshold"]) == (
        75,
        2,
    )  # c's answer is nothing


@pytest.mark.parametrize(
    "odds, message",
    [
        ("[", "odds.json: not JSON"),
        ("[1]", "expected a JSON object of finite numbers"),
        ('{"a": NaN}', "expected a JSON object of finite numbers"),
        ('{"a": "1"}', "expected a JSON object of finite numbers"),
        ('{"a": 1}', "has no odds for 1 questions, such as b"),
    ],
)
def test_odds_that_cannot_be_used(tmp_path, capsys, odds, message):
    qas = [{"id": "a", "answers": [{"text": "x"}]}, {"id": "b", "answers": []}]
    (tmp_path / "dev.json").write_text(json.dumps({"data": [{"paragraphs": [{"qas": qas}]}]}))
    (tmp_path / "given.json").write_text('{"a": "x"}')
    (tmp_path / "odds.json").write_text(odds)
    typed = ["--data", tmp_path / "dev.json", "--predictions", tmp_path / "given.json"]
    typed += ["--null-odds", tmp_path / "odds.json"]
    assert run(["evaluate", "--task", "squad", *map(str, typed)]) == 2
    _, err = capsys.readouterr()
    assert err.count("\n") == 1 and message in err
