"""Surprisals of loaded models, from Python and in files: columns kept, tables that other programs read."""

import csv
import json
import math
from pathlib import Path

import pytest

from launch.__main__ import run
from research import load
from research.config import Model
from research.data.tokenizers.published import character_level
from research.errors import UsageError
from research.models.parameters import by_path
from research.weights import save
from research.weights.layout import Weights
from tests.drawn import drawn
from tests.evaluation.test_surprisal import byte_pairs

import numpy as np  # isort: skip

ITEMS = [
    {"item": "1", "condition": "a", "text": 'The "barn" fell.'},
    {"item": "1", "condition": "b", "text": ""},
    {"item": "2", "condition": "a, b", "text": "  naïve\u00a0sat "},
]


def written(path: Path, tokenizer, **changes) -> Path:
    vocabulary = tokenizer.get_vocab_size()
    config = Model(family="gpt2", vocabulary=vocabulary, context=16, width=12, depth=1, heads=2, **changes)
    arrays = {name: np.asarray(array) for name, array in by_path(drawn(config)).items()}
    save(path, Weights(config, arrays, {}, tokenizer, None))
    return path


@pytest.fixture(scope="module")
def gpt(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("weights") / "gpt", byte_pairs())


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_a_text_has_one_result_and_a_list_one_each(gpt):
    """Each as if it were alone, and their sum is the loss."""
    model = load(gpt)
    texts = [item["text"] for item in ITEMS]
    found = model.surprisals(texts, start=False)
    assert [one.text for one in found] == texts and found[1].words == found[1].tokens == []
    alone = model.surprisals(texts[0], start=False)
    assert [word.word for word in alone.words] == ["The", '"barn"', "fell."]
    assert alone.words[1].surprisal == pytest.approx(found[0].words[1].surprisal, rel=1e-5)
    assert math.isnan(alone.words[0].surprisal)
    mean = sum(token.surprisal for token in alone.tokens[1:]) / (len(alone.tokens) - 1)
    assert mean == pytest.approx(model.loss(texts[0]), rel=1e-5)
    with pytest.raises(UsageError, match="expected a text, or a list of texts"):
        model.surprisals([1, 2])


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl"])
def test_files_keep_their_columns_and_cells_read_back(gpt, suffix, tmp_path, capsys):
    data, out = tmp_path / f"items{suffix}", tmp_path / "out.tsv"
    if suffix == ".tsv":
        rows = ["\t".join(ITEMS[0]), *("\t".join(item.values()) for item in ITEMS)]
        data.write_text("\r\n".join(rows) + "\r\n", encoding="utf-8")
    else:
        data.write_text("".join(json.dumps(item) + "\n" for item in ITEMS), encoding="utf-8")
    command = ["surprisals", str(gpt), "--data", str(data), "--unit", "bits"]
    assert run([*command, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "3 texts, 5 words, mean " in printed and " bits" in printed
    found = load(gpt).surprisals([item["text"] for item in ITEMS], unit="bits")
    expected = [(n, item, word) for n, item in enumerate(ITEMS) for word in found[n].words]
    rows = table(out)
    assert len(rows) == len(expected)
    for row, (number, item, word) in zip(rows, expected, strict=True):
        assert (row["item"], row["condition"]) == (item["item"], item["condition"])
        assert row["text_id"] == str(number + 1) and row["word"] == word.word
        assert item["text"][int(row["start"]) : int(row["end"])] == word.word
        assert float(row["surprisal"]) == pytest.approx(word.surprisal, abs=1e-5)
    assert [row["word_id"] for row in rows] == ["1", "2", "3", "1", "2"]
    assert run([*command, "--out", str(out)]) == 2 and table(out) == rows
    assert "exists and is not overwritten" in capsys.readouterr().err
    assert run([*command, "--tokens", "--no-start", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    tokens = load(gpt).surprisals([item["text"] for item in ITEMS])
    assert [line["token"] for line in lines] == [token.token for one in tokens for token in one.tokens]
    assert lines[0]["surprisal"] is lines[0]["rank"] is None and lines[0]["word_id"] == 1
    assert lines[-1]["word_id"] is None  # white space at the end


def test_lines_of_a_text_keep_their_numbers(gpt, tmp_path, capsys):
    (tmp_path / "x.txt").write_bytes(b"the\tbarn \r\n\r\n   \nfell")
    assert run(["surprisals", str(gpt), "--data", str(tmp_path / "x.txt"), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["text_id"], row["word"], row["start"]) for row in rows] == [
        (1, "the", 0),
        (1, "barn", 4),
        (4, "fell", 0),
    ]


def test_characters_have_no_start_and_sum_to_words(tmp_path):
    model = load(written(tmp_path / "char", character_level({c: n for n, c in enumerate("\n abcd")})))
    found = model.surprisals("ab  cd\na", corrected=True)
    assert [(word.word, word.tokens) for word in found.words] == [("ab", 2), ("cd", 4), ("a", 2)]
    assert math.isnan(found.words[0].surprisal) and math.isfinite(found.words[1].surprisal)
    with pytest.raises(UsageError, match="the vocabulary has no 'x'"):
        model.surprisals("ax")


@pytest.mark.parametrize(
    "content, options, message",
    [
        ("word\ttext\na\tb\n", [], "column word: also a name of a column of the output"),
        ("sentence\na\n", [], "no field text (--field); expected one of sentence"),
        ("txt\na\n", [], "no field text (--field); did you mean txt?"),
        ("text\na\n", ["--out", "x.npz"], "--out x.npz: expected a file that ends in .tsv, .csv, .jsonl"),
        ("text\na\n", ["--within-word"], "within_word: masks tokens of a BERT"),
    ],
)
def test_mistakes_are_one_line(gpt, content, options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.tsv").write_text(content)
    options = options if "--out" in options else [*options, "--out", "o.tsv"]
    assert run(["surprisals", str(gpt), "--data", "x.tsv", *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.tsv"]
