"""Features of tokens and words: Transformers' states, Google's lines, whole files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from launch.__main__ import run
from research import load
from research.api.features import encode, features
from research.data.tokenizers.published import SPECIAL
from tests.agreement import LOGITS

GOLDEN = Path(__file__).parents[1] / "golden"
PIECES = ["a", "b", "##b", "##c", "d", "é", ".", *map(str, range(41))]
TEXTS = ["a bbc d", "", "a. É 3 4 5 6 7", "d"]
LINES = "a bbc d\n\na. É 3 4 5 6 7\nd\n"


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "bert"
    shutil.copytree(GOLDEN / "bert_erf", path)
    (path / "vocab.txt").write_text("\n".join([*SPECIAL, *PIECES]), encoding="utf-8")
    (path / "tokenizer_config.json").write_text('{"strip_accents": false, "do_lower_case": true}')
    return path


@pytest.fixture(scope="module")
def model(bert):
    return load(bert)


def of(model, texts, layers=(-1,), length=19, **options):
    rows = [encode(model, (text,) if isinstance(text, str) else text, length) for text in texts]
    return list(features(model, rows, layers, **options))


@pytest.mark.filterwarnings("default")
def test_states_of_every_layer_are_those_of_transformers(bert, model):
    """Also of pairs, with their segments."""
    torch = pytest.importorskip("torch", reason="needs the extra parity")
    transformers = pytest.importorskip("transformers", reason="needs the extra parity")
    theirs = transformers.BertModel.from_pretrained(bert, add_pooling_layer=False).eval()
    layers = [0, 1, 2, -2, -1]
    texts = [*TEXTS, ("a b", "bbc d. a")]
    for text, found in zip(texts, of(model, texts, layers, batch=2), strict=True):
        pair = (text,) if isinstance(text, str) else text
        encoded = model.tokenizer.encode(*pair)
        assert found.names == encoded.tokens and found.ids.tolist() == encoded.ids
        inputs = {"input_ids": encoded.ids, "token_type_ids": encoded.type_ids}
        with torch.no_grad():
            states = theirs(
                **{name: torch.tensor([ids]) for name, ids in inputs.items()}, output_hidden_states=True
            ).hidden_states
        for column, layer in enumerate(layers):
            expected = states[layer][0].numpy()
            tolerance = LOGITS * abs(expected).max()
            np.testing.assert_allclose(found.states[:, column], expected, atol=tolerance)


def test_they_are_the_models_hidden_states_whatever_the_batch(model):
    texts = [text for text in TEXTS if text]
    expected = model.hidden_states(texts)
    for batch in (1, 2, 8):
        for n, found in enumerate(of(model, texts, (-1, 0), batch=batch)):
            for column, layer in enumerate((-1, 0)):
                length = len(found.names)
                np.testing.assert_allclose(found.states[:, column], expected[layer][n, :length], atol=1e-5)


def test_a_word_has_its_first_piece_or_the_mean_of_its_pieces(model):
    (tokens,), (first,), (mean,) = (
        of(model, ["a bbc d"], words=words) for words in ("none", "first", "mean")
    )
    assert tokens.names == ["[CLS]", "a", "b", "##b", "##c", "d", "[SEP]"]
    assert tokens.words.tolist() == [-1, 0, 1, 1, 1, 2, -1]
    assert first.names == mean.names == ["a", "bbc", "d"] and first.words.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(first.states, tokens.states[[1, 2, 5]])
    np.testing.assert_allclose(mean.states[1], tokens.states[2:5].mean(0), atol=1e-6)
    assert of(model, [("a b", "d")], words="first")[0].words.tolist() == [0, 1, 2]
    assert of(model, [""], words="mean")[0].states.shape == (0, 1, 20)


def test_a_gpt_has_no_special_tokens_and_reads_one_text(tmp_path):
    folder = tmp_path / "gpt2"
    shutil.copytree(GOLDEN / "gpt2", folder)
    tokenizer = Tokenizer(models.WordLevel({str(n): n for n in range(53)}, unk_token="0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    model = load(folder)
    one, empty = of(model, ["5 6 7", ""])
    assert one.names == ["5", "6", "7"] and empty.states.shape == (0, 1, one.states.shape[-1])
    np.testing.assert_allclose(one.states[:, 0], model.hidden_states("5 6 7")[-1][0], atol=1e-5)
    (tmp_path / "x.txt").write_text("1 ||| 2\n")
    assert run(["features", str(folder), "--data", str(tmp_path / "x.txt")]) == 2


def test_lines_are_those_of_extract_features(bert, model, tmp_path, capsys):
    """One a line of the file, also of an empty one; values to 6 digits; the same on the terminal."""
    (tmp_path / "x.txt").write_text(LINES + "a ||| d\n", encoding="utf-8")
    command = ["features", str(bert), "--data", str(tmp_path / "x.txt"), "--layers", "-1,-2"]
    assert run([*command, "--out", str(tmp_path / "x.jsonl")]) == 0
    assert "5 texts" in capsys.readouterr().out
    assert run(command) == 0
    text = (tmp_path / "x.jsonl").read_text(encoding="utf-8")
    assert capsys.readouterr().out == text
    lines = [json.loads(line) for line in text.splitlines()]
    for n, (line, found) in enumerate(zip(lines, of(model, [*TEXTS, ("a", "d")], (-1, -2)), strict=True)):
        assert line.keys() == {"linex_index", "features"} and line["linex_index"] == n
        assert [one["token"] for one in line["features"]] == found.names
        for one, states in zip(line["features"], found.states, strict=True):
            assert [layer["index"] for layer in one["layers"]] == [-1, -2]
            np.testing.assert_allclose([layer["values"] for layer in one["layers"]], states, atol=1e-6)


def test_an_archive_has_all_rows_and_where_each_text_begins(bert, model, tmp_path, capsys):
    rows = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    (tmp_path / "x.jsonl").write_text(rows)
    out = tmp_path / "x.npz"
    more = ["--layers", "-1,0", "--out", str(out), "--length", "5"]
    assert run(["features", str(bert), "--data", str(tmp_path / "x.jsonl"), *more]) == 0
    assert "2 of 4 texts cut to 5 tokens" in capsys.readouterr().err
    archive = np.load(out)
    for n, found in enumerate(of(model, TEXTS, (-1, 0), length=5)):
        part = slice(archive["starts"][n], archive["starts"][n + 1])
        np.testing.assert_allclose(archive["states"][part], found.states, atol=1e-6)
        assert archive["names"][part].tolist() == found.names
        assert archive["ids"][part].tolist() == found.ids.tolist()
        assert archive["words"][part].tolist() == found.words.tolist()
    assert archive["layers"].tolist() == [-1, 0] and len(archive["states"]) == archive["starts"][-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.jsonl", "x.npz"]


def test_layers_may_be_sites(bert, model, tmp_path):
    """Heads side by side, and the last state under both of its names."""
    (tmp_path / "x.txt").write_text("a bbc d\n3 4\n")
    command = ["features", str(bert), "--data", str(tmp_path / "x.txt"), "--out", str(tmp_path / "x.npz")]
    assert run([*command, "--layers", "blocks/*/attention/heads, final,-1"]) == 0
    archive, found = np.load(tmp_path / "x.npz"), model.activations("a bbc d")
    heads = [f"blocks/{n}/attention/heads" for n in range(3)]
    assert archive["layers"].tolist() == [*heads, "final", "-1"]
    first = archive["states"][: archive["starts"][1]]
    for column, name in enumerate([*heads, "final", "final"]):
        np.testing.assert_allclose(first[:, column], found[name].reshape(len(first), -1), atol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--layers", "4"], "--layers 4: expected from -4 to 3; 0 is the first block's input"),
        (["--layers", "-1,x"], "x: no such site of this model; expected one of blocks/0/attention/"),
        (["--layers", "blocks/*/attention/scores"], "scores: expected a site with features of each token"),
        (["--layers", "-1,blocks/0/mlp/hidden"], "--layers: expected one width, not 20 and 80"),
        (["--out", "x.h5"], "--out x.h5: expected a file that ends in .jsonl or .npz"),
        (["--words", "fist"], "--words fist: not known; did you mean first?"),
        (["--length", "20"], "--length 20: expected at most 19, the context"),
        (["--length", "2"], "--length 2: expected more"),
        (["--field", "a,b,c"], "expected one field, or two of a pair"),
    ],
)
def test_mistakes_are_one_line(options, message, bert, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.txt").write_text("a\n")
    assert run(["features", str(bert), "--data", "x.txt", *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
