"""Tokenizers that are trained on the examples of a task."""

import json

import pytest

from research import resolve
from research.data.sources import schemes
from research.data.tokenizers import trained
from research.objectives.task import task_tokenizer
from tests.data.finetuning.labelled import tuned


@pytest.fixture
def rows(tmp_path):
    """300 pairs, each with a word of its own, in a file without a validation file."""
    lines = [
        f"der Film ist w{n:03}\tdas Buch dagegen v{n:03}\t{'gut' if n % 2 else 'schlecht'}"
        for n in range(300)
    ]
    (tmp_path / "own.tsv").write_text("\n".join(["text1\ttext2\tlabel", *lines]))
    return f"files:{tmp_path}/own.tsv"


@pytest.mark.parametrize(("name", "tokenizer"), [("bert_rte", "wordpiece:120"), ("gpt1_rte", "bpe:290")])
def test_it_learns_from_the_texts_of_the_training_examples_alone(
    rows, name, tokenizer, monkeypatch, tmp_path
):
    changes = {"data.source": rows, "data.tokenizer": tokenizer, "data.standardize": "none"}
    experiment = resolve(name, changes)
    assert experiment.data.source == f"rest:30:0:{rows}"
    assert experiment.model.vocabulary == int(tokenizer.partition(":")[2])
    read = []
    texts = trained.texts
    monkeypatch.setattr(trained, "texts", lambda *given: (read.append(t) or t for t in texts(*given)))
    first = task_tokenizer(experiment)()
    training = [
        record[field]
        for _, record in schemes.records(experiment.data.source, {"text1"}, "train")
        for field in ("text1", "text2")
    ]
    assert set(read) == set(training) and len(training) == 2 * 270
    monkeypatch.setenv("LINEAGE_HOME", str(tmp_path / "elsewhere"))  # made again
    assert task_tokenizer(experiment)().to_str() == first.to_str()


def test_characters_are_those_of_both_splits(rows):
    experiment = resolve(
        "gpt1_rte", {"data.source": rows, "data.tokenizer": "char", "data.standardize": "none"}
    )
    characters = set("der Film ist w das Buch dagegen v 0123456789")
    assert set(task_tokenizer(experiment)().get_vocab()) == characters
    assert experiment.model.vocabulary == len(characters)


def test_words_and_choices_are_texts(tmp_path):
    words = {"tokens": ["Zürich", "liegt"], "ner_tags": ["B-LOC", "O"]}
    (tmp_path / "tags.jsonl").write_text(json.dumps(words))
    tagged = {"data__tokenizer": "char", "task__fields": ("tokens",)}
    assert set("Zürichliegt ") == set(
        trained.load(*settings("bert_ner", tmp_path, "tags.jsonl", tagged)).get_vocab()
    )
    choice = {"article": "abc", "questions": ["d"], "options": [["e", "f", "g", "h"]], "answers": ["A"]}
    (tmp_path / "race.txt").write_text(json.dumps(choice))
    given = settings("gpt1_race", tmp_path, "race.txt", {"data__tokenizer": "char"})
    assert set("abcdefgh") == set(trained.load(*given).get_vocab())


def settings(name, folder, file, changes):
    experiment = tuned(name, folder, file, **changes)
    return experiment.data, experiment.task


def test_other_rows_are_another_tokenizer(rows, tmp_path):
    changes = {"data.source": rows, "data.tokenizer": "bpe:290", "data.standardize": "none"}
    first = task_tokenizer(resolve("gpt1_rte", changes))().get_vocab()
    path = tmp_path / "own.tsv"
    path.write_text(path.read_text().replace("Film", "Zaun"))
    assert task_tokenizer(resolve("gpt1_rte", changes))().get_vocab() != first
