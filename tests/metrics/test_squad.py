"""The official figures, and answers worked by hand."""

import json

import pytest

from launch.__main__ import run
from research.errors import UsageError
from research.metrics.squad import exact_match, normalized, read_answers, read_predictions, score, word_f1


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
    assert found.exact_match == pytest.approx(100 / 3) and found.missing == 1
    assert found.f1 == pytest.approx(100 * (2 * 2 / (2 + 3) + 1) / 3)


@pytest.mark.parametrize(
    "text, message", [("[]", "data"), ("{", "not JSON"), ('{"data": []}', "no questions")]
)
def test_files_of_another_form(tmp_path, text, message):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_answers(tmp_path / "file.json")
    with pytest.raises(UsageError, match="JSON"):
        read_predictions(tmp_path / "file.json")
