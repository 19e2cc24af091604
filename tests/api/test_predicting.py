"""Predictions of examples given in Python are those of the same examples in a file."""

import csv
import json

import pytest

from launch.__main__ import run as command
from research import predict
from research.api.answers import answers
from research.errors import UsageError
from research.training.evaluating import evaluate_run
from research.training.loop import train
from tests.mostly_slow import mostly_slow
from tests.training.test_finetune import experiment
from tests.training.tiny import quickstart

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


def silent(line: str) -> None:
    pass


def lines(folder, name):
    return (folder / name).read_text().splitlines()


def examples(folder, file):
    """Those of the files that `experiment` writes, as one would type them."""
    if file == "single.tsv":
        return [line.split("\t")[0] for line in lines(folder, file)[1:]]
    if file == "scores.csv":
        return [tuple(line.split(",")[:2]) for line in lines(folder, file)]
    if file == "story.jsonl":
        return [json.loads(line) for line in lines(folder, file)]
    if file == "conll.txt":
        sentences = (folder / file).read_text().strip().split("\n\n")
        return [[word.split()[0] for word in sentence.split("\n")] for sentence in sentences]
    (paragraph,) = json.loads((folder / file).read_text())["data"][0]["paragraphs"]
    return [(asked["question"], paragraph["context"]) for asked in paragraph["qas"]]


@pytest.mark.parametrize(
    "name, file",
    mostly_slow(
        [
            ("gpt1_stsb", "scores.csv"),
            ("gpt1_sst2", "single.tsv"),
            ("gpt1_storycloze", "story.jsonl"),
            ("bert_squad", "squad.json"),
            ("bert_ner", "conll.txt"),
        ],
        1,
    ),
)
def test_predictions_are_those_of_a_file(name, file, tmp_path):
    run = tmp_path / "run"
    train(experiment(name, file, tmp_path), run, silent)
    expected, *_ = evaluate_run.predict(run, None, f"files:{tmp_path}/{file}", silent)
    found = predict(run, examples(tmp_path, file))
    assert found == (list(expected.values()) if isinstance(expected, dict) else expected)
    assert predict(f"{run}:2", examples(tmp_path, file)[:1]) != []
    rows = answers(str(run), f"files:{tmp_path}/{file}", silent, with_rows=True).rows
    assert len(rows) == len(found)
    for row, one in zip(rows, found, strict=True):
        if isinstance(one, float):
            assert row["prediction"] == pytest.approx(min(max(one, 0.0), 5.0), abs=1e-6)
            continue
        assert row["prediction"] == one
        shares = {key: value for key, value in row.items() if key.startswith("probability_")}
        assert bool(shares) == (file in ("single.tsv", "story.jsonl"))
        if shares:
            assert max(shares, key=lambda key: shares[key]) == f"probability_{one}"
            assert sum(shares.values()) == pytest.approx(1, abs=1e-5)


def test_a_table_has_the_columns_of_the_file_and_the_probabilities(tmp_path, capsys):
    train(experiment("gpt1_sst2", "single.tsv", tmp_path), tmp_path / "run", silent)
    (tmp_path / "new.csv").write_bytes(b'\xef\xbb\xbfid,sentence\r\nR1,"a ""b"",\r\nc"\r\nR2,d e\r\n')
    typed = ["evaluate", str(tmp_path / "run"), "--task", "answers"]
    typed += ["--data", str(tmp_path / "new.csv"), "--out"]
    capsys.readouterr()
    assert command([*typed, str(tmp_path / "out.tsv")]) == 0
    assert capsys.readouterr().out == f"answers  2 examples\nfile     {tmp_path / 'out.tsv'}\n"
    with open(tmp_path / "out.tsv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert list(rows[0]) == ["id", "sentence", "prediction", "probability_negative", "probability_positive"]
    assert [row["id"] for row in rows] == ["R1", "R2"] and rows[0]["sentence"] == 'a "b",\r\nc'
    (tmp_path / "new.csv").write_text("prediction,sentence\nR1,a\n")
    assert command([*typed, str(tmp_path / "other.tsv")]) == 2
    assert "column prediction: also a name of a column of the output" in capsys.readouterr().err


def test_mistakes_are_one_line(tmp_path):
    run = tmp_path / "run"
    train(experiment("gpt1_stsb", "scores.csv", tmp_path), run, silent)
    for given, message in (
        ("a text", "expected a list with at least one example"),
        ([], "expected a list with at least one example"),
        ([("a b", "c"), "a b"], "example 1: expected sentence1, sentence2"),
        ([{"sentence1": "a"}], "sentence2"),
    ):
        with pytest.raises(UsageError, match=message) as raised:
            predict(run, given)
        assert "\n" not in str(raised.value)
    train(quickstart(tmp_path / "text.txt", run__steps=1, run__sample=0), tmp_path / "gpt", silent)
    with pytest.raises(UsageError, match="it has no task"):
        predict(tmp_path / "gpt", ["a text"])
