"""Models edited in Python, saved, and read by the other commands."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from launch.__main__ import run
from research import load, weights
from research.config import Model
from research.errors import UsageError
from research.models.parameters import by_path
from research.weights.layout import TaskHead
from tests.drawn import drawn

GOLDEN = Path(__file__).parents[1] / "golden"
IDS = [1, 2, 3, 4]
MODERN = Model(
    family="gpt2",
    vocabulary=23,
    context=12,
    width=8,
    depth=2,
    heads=2,
    normalization="rms",
    positions="rotary",
    activation="swiglu",
    qk_norm=True,
    bias=False,
    tied=False,
)
TUNED = Model(family="gpt1", vocabulary=23, context=12, width=8, depth=1, heads=2, norm="post")
TUNED = replace(TUNED, head="sequence", outputs=2, head_bias=True)


def doubled(model):
    return model.with_parameters({"tokens": 2 * np.asarray(model.parameters["tokens"])})


def test_other_parameters_are_another_model(tmp_path):
    """Its logits are those of the directory that it saves."""
    model = load(GOLDEN / "gpt2")
    before = model.logits(IDS)
    other = doubled(model)
    assert abs(other.logits(IDS) - before).max() > 0.1
    np.testing.assert_array_equal(model.logits(IDS), before)
    other.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.config == model.config and again.report.missing == {}
    np.testing.assert_array_equal(again.logits(IDS), other.logits(IDS))


def test_edits_of_the_module_are_saved(tmp_path):
    model = load(GOLDEN / "gpt2")
    model.module.tokens[...] = 2 * model.module.tokens[...]
    expected = doubled(load(GOLDEN / "gpt2"))
    np.testing.assert_array_equal(model.parameters["tokens"], expected.parameters["tokens"])
    model.save(tmp_path / "saved")
    np.testing.assert_array_equal(load(tmp_path / "saved").logits(IDS), expected.logits(IDS))


def test_generated_text_follows_edits(tmp_path):
    folder = tmp_path / "gpt2"
    shutil.copytree(GOLDEN / "gpt2", folder)
    characters = {chr(65 + n): n for n in range(53)}
    (folder / "tokenizer.json").write_text(_characters(characters))
    model = load(folder)
    before = model.generate("AB", tokens=8, temperature=0)
    table = np.asarray(model.parameters["tokens"])
    model.module.tokens[...] = np.roll(table, 5, axis=0)
    after = model.generate("AB", tokens=8, temperature=0)
    model.save(tmp_path / "saved")
    assert after == load(tmp_path / "saved").generate("AB", tokens=8, temperature=0) != before


def _characters(ids) -> str:
    from research.data.tokenizers.published import character_level

    return character_level(ids).to_str()


@pytest.mark.parametrize("config, head", [(MODERN, None), (TUNED, TaskHead("classification", ("no", "yes")))])
def test_any_model_is_saved_and_read_by_the_commands(config, head, tmp_path):
    model = drawn(config)
    saved = tmp_path / "saved"
    weights.save(saved, weights.Weights(config, by_path(model), {}, None, head))
    found = weights.read(saved)
    assert found.config == config and found.task_head == head
    for path, array in by_path(model).items():
        np.testing.assert_array_equal(found.arrays[path], array)
    fresh, report = weights.start(drawn(config, seed=1), saved, head)
    assert not report.missing and not report.unused
    for path, array in by_path(model).items():
        np.testing.assert_array_equal(by_path(fresh)[path], array)
    load(saved).save(tmp_path / "again")
    for name in ("weights.json", "weights.safetensors"):
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert run(["export", str(saved), str(tmp_path / "out")]) == 2  # Transformers has neither
    assert not (tmp_path / "out").exists()


def test_a_head_that_was_missing_is_saved_once_it_has_values(tmp_path):
    model = load(GOLDEN / "bert")
    arrays = {p: np.asarray(x) for p, x in model.parameters.items() if not p.startswith("masked/")}
    weights.save(tmp_path / "encoder", weights.Weights(model.config, arrays, {}, None))
    encoder = load(tmp_path / "encoder")
    with pytest.raises(UsageError, match="the weights have no masked-token head"):
        encoder.logits(IDS)
    encoder.save(tmp_path / "same")
    assert weights.read(tmp_path / "same").arrays.keys() == arrays.keys()
    heads = {path: x for path, x in model.parameters.items() if path.startswith("masked/")}
    whole = encoder.with_parameters(heads)
    np.testing.assert_array_equal(whole.logits(IDS), model.logits(IDS))
    whole.save(tmp_path / "whole")
    assert weights.read(tmp_path / "whole").arrays.keys() == model.parameters.keys()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"token": 1}, "token: no such parameter; did you mean tokens"),
        ({"tokens": np.zeros((2, 3))}, r"tokens: shape \(2, 3\): expected \(53, 20\)"),
        ({"tokens": np.full((53, 20), "a")}, "tokens: type <U1: expected numbers"),
        ({"tokens": np.full((53, 20), True)}, "tokens: type bool: expected numbers"),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(changes, message):
    with pytest.raises(UsageError, match=message) as raised:
        load(GOLDEN / "gpt2").with_parameters(changes)
    assert "\n" not in str(raised.value)


def test_nothing_is_written_over_and_no_nan_is_written(tmp_path):
    model = load(GOLDEN / "gpt2")
    model.save(tmp_path / "saved")
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        model.save(tmp_path / "saved")
    lost = model.with_parameters({"positions": np.full((19, 20), np.nan)})
    with pytest.raises(UsageError, match="nan: positions holds numbers that are not finite"):
        lost.save(tmp_path / "nan")
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("weights.json", {"format": 2}, "weights.json: format 2: expected format 1 and a model"),
        ("weights.json", {"model": {"family": "gpt2"}}, "weights.json: .*missing"),
        (
            "weights.json",
            {"model": {"family": "gpt2", "vocabulary": "a"}},
            "model.vocabulary=a: expected an integer",
        ),
        ("weights.json", {"model": {"wide": 1}}, "weights.json: model.wide: no such setting"),
        ("weights.json", {"task_head": 3}, "weights.json: task_head: expected objective and labels"),
        ("weights.safetensors", {"token": (1,)}, "token: no such parameter; did you mean tokens"),
        ("weights.safetensors", {"tokens": (1, 2)}, r"tokens is \(1, 2\), the model needs \(53, 20\)"),
        ("weights.safetensors", None, "weights.safetensors: cannot be read"),
    ],
)
def test_damaged_directories_are_refused_in_one_line(file, change, message, tmp_path):
    load(GOLDEN / "gpt2").save(tmp_path / "saved")
    path = tmp_path / "saved" / file
    if change is None:
        path.write_bytes(path.read_bytes()[:-8])
    elif file == "weights.json":
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    else:
        save_file(
            load_file(path) | {name: np.zeros(shape, np.float32) for name, shape in change.items()}, path
        )
    with pytest.raises(UsageError, match=message) as raised:
        load(tmp_path / "saved")
    assert "\n" not in str(raised.value)
