"""Labels, scores and pairs of ones own: what a file decides, whatever its form."""

import json

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

import experiments
from research.config import Task
from research.data.finetuning.classification import examples
from research.data.finetuning.labels import CLASSES
from research.data.sources import schemes
from research.errors import UsageError
from research.training import resolving
from tests.training.resolving.test_from_data import followed

MOODS = [{"text": f"film {n}", "label": n % 3 - 1} for n in range(30)]

DATA = experiments.get("bert_tiny_sst2").data


def lines(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"files:{path}"


def decided(name: str, source: str, **changes) -> dict:
    return followed(name, data__source=source, data__validation=source, **changes)[0]


@pytest.mark.parametrize("name", ["own.csv", "own.jsonl", "own.json", "own.parquet", "floats.parquet"])
def test_minus_one_is_a_class_beside_other_numbers(tmp_path, name):
    path, table = tmp_path / name, pa.Table.from_pylist(MOODS)
    if name == "floats.parquet":  # as pandas keeps numbers in a column with nulls
        rows = [row | {"label": float(row["label"])} for row in MOODS] + [{"text": "none", "label": None}]
        table = pa.Table.from_pylist(rows)
    if path.suffix == ".csv":
        csv.write_csv(table, path)
    elif path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(MOODS))
    else:
        lines(path, MOODS)
    found = decided("bert_tiny_sst2", f"files:{path}")
    assert found["task.labels"] == ("-1", "0", "1") and found["model.outputs"] == 3
    task = Task(fields=("text",), labels=found["task.labels"])
    read, left_out = examples(DATA, task, CLASSES, f"files:{path}", "train")
    assert [one.label for one in read] == [0, 1, 2] * 10 and left_out == (name == "floats.parquet")


def test_minus_one_is_hidden_beside_names_and_on_its_own(tmp_path):
    rows = [{"sentence": "a", "label": label} for label in ("bad", "good", -1)]
    found = decided("bert_tiny_sst2", lines(tmp_path / "names.jsonl", rows))
    assert found["task.labels"] == ("bad", "good")
    hidden = lines(tmp_path / "test.jsonl", [{"sentence": "a", "label": -1}] * 3)
    assert decided("bert_tiny_sst2", hidden) == {}
    task = experiments.get("bert_tiny_sst2").task
    read, _ = examples(DATA, task, CLASSES, hidden, "test")
    assert [one.label for one in read] == [-1] * 3


@pytest.mark.parametrize("classes", [("anders", "gleich"), ("anders", "gleich", "unklar")])
def test_the_metrics_stay_and_it_is_said_whose_f1_it_is(tmp_path, classes):
    rows = [{"sentence1": "a", "sentence2": "b", "label": name} for name in classes * 3]
    source = lines(tmp_path / "own.jsonl", rows)
    found, said = followed("bert_mrpc", data__source=source, data__validation=source)
    assert found["task.labels"] == classes and "task.metrics" not in found
    named_class = "f1 is that of gleich; with task.labels=gleich,anders it is that of anders"
    assert (named_class in said) == (len(classes) == 2)
    named = {"task__labels": ("gleich", "anders"), "task__metrics": ("accuracy",)}
    assert not any("f1" in line for line in followed("bert_mrpc", data__source=source, **named)[1])
    assert "task.metrics" not in decided(
        "bert_cola", lines(tmp_path / "one.jsonl", [{"sentence": "a", "label": name} for name in classes * 3])
    )


def test_a_tenth_of_each_of_joined_files_is_held_out(tmp_path):
    rows = [{"sentence": "a", "label": name} for name in ("gut", "schlecht") * 20]
    first, second = lines(tmp_path / "a.jsonl", rows), lines(tmp_path / "b.jsonl", rows[:20])
    found, _ = followed("bert_sst2", data__source=f"{first}+{second}")
    assert found["data.source"] == f"rest:4:0:{first}+rest:2:0:{second}"
    assert found["data.validation"] == f"drawn:4:0:{first}+drawn:2:0:{second}"
    assert len(list(schemes.records(found["data.source"], {"sentence"}, "train"))) == 54


def test_a_nan_is_no_class(tmp_path):
    rows = [{"sentence": "a", "label": label} for label in ("bad", "good", float("nan"), None)]
    source = lines(tmp_path / "own.jsonl", rows)
    assert decided("bert_tiny_sst2", source)["task.labels"] == ("bad", "good")
    task = Task(fields=("sentence",), labels=("bad", "good"))
    read, left_out = examples(DATA, task, CLASSES, source, "train")
    assert len(read) == left_out == 2


@pytest.mark.parametrize("label, kind", [(["a"], "list"), ([0, 1], "list"), ({"a": 1}, "dict")])
def test_a_label_that_is_no_single_value_is_refused(tmp_path, label, kind):
    source = lines(tmp_path / "own.jsonl", [{"sentence": "a", "label": label}] * 3)
    with pytest.raises(UsageError, match=rf"own\.jsonl:1: label .* expected one label, not a {kind}"):
        decided("bert_tiny_sst2", source)
    with pytest.raises(UsageError, match=rf"own\.jsonl:1: label .* expected one class, not a {kind}"):
        examples(DATA, experiments.get("bert_tiny_sst2").task, CLASSES, source, "train")


def test_scores_outside_of_the_declared_bounds_have_none(tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (60, 100, -3.5, None)]
    found, (said, *_) = followed("bert_stsb", data__source=lines(tmp_path / "own.jsonl", rows))
    assert found["task.bounds"] == () and "task.bounds= (declared 0.0,5.0)" in said
    inside = lines(tmp_path / "stsb.jsonl", [row | {"score": 3.5} for row in rows])
    assert decided("bert_stsb", inside) == {}
    typed = {"task__bounds": (0.0, 100.0)}
    assert "task.bounds" not in decided("bert_stsb", lines(tmp_path / "own.jsonl", rows), **typed)


@pytest.mark.parametrize(
    "first, second",
    [
        ("premise", "hypothesis"),
        ("Question1", "Question2"),
        ("text1", "text2"),
        ("text_a", "text_b"),
    ],
)
def test_the_columns_of_a_pair_are_found_together(tmp_path, first, second):
    path = tmp_path / "pairs.csv"
    path.write_text(f"id,{second},{first},text,label\n" + "1,b,a,c,entailment\n2,b,a,c,not_entailment\n" * 9)
    assert decided("bert_rte", f"files:{path}") == {"task.fields": (first, second)}


def test_half_of_a_pair_is_not_taken_in_silence(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("text,other,label\n" + "a,b,entailment\na,b,not_entailment\n" * 9)
    wanted = r"no column sentence1,sentence2 \(task\.fields\); .*type task\.fields=COLUMN,COLUMN, or their"
    with pytest.raises(UsageError, match=wanted):
        decided("bert_rte", f"files:{path}")
    path.write_text("premise,hypothesis,label\n" + "a,b,0\na,b,1\n" * 9)
    with pytest.raises(UsageError, match=r"no column sentence .*; type task\.fields=premise,hypothesis$"):
        decided("bert_tiny_sst2", f"files:{path}")
    said = []
    changes = {"data.source": f"files:{path}", "task.fields": ("premise",)}
    resolving.resolve(experiments.get("bert_rte"), changes, said.append)
    assert (
        "task.fields=premise: an example is one text; declared is a pair of texts, sentence1,sentence2"
        in said
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_tags_as_the_hub_keeps_them(tmp_path, suffix):
    """CoNLL's, whose classes have the declared order."""
    rows = [{"id": str(n), "tokens": ["Jo", "is", "in", "Rome"], "ner_tags": [1, 0, 0, 5]} for n in range(9)]
    path = tmp_path / f"own{suffix}"
    lines(path, rows) if suffix == ".jsonl" else parquet.write_table(pa.Table.from_pylist(rows), path)
    columns = {"task.fields": ("tokens",), "task.label": "ner_tags"}
    assert decided("bert_ner", f"files:{path}") == columns
    other = lines(tmp_path / "other.jsonl", [row | {"ner_tags": [11, 0, -100, 0]} for row in rows])
    assert decided("bert_ner", other)["task.labels"] == ("0", "11")
