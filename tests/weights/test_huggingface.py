"""Hugging Face directories in all the layouts that are met with."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from research import weights
from research.models.parameters import by_path
from tests.weights.directory import FAMILIES, GOLDEN, refused


def assert_same(loaded, name):
    expected = by_path(weights.load(GOLDEN / name).model)
    for path, array in by_path(loaded.model).items():
        np.testing.assert_array_equal(array, expected[path], err_msg=path)


@pytest.mark.parametrize("name", FAMILIES)
def test_without_prefix_and_with_buffers(name, directory):
    d = directory(name)
    d.tensors = {n.removeprefix("transformer.").removeprefix("bert."): x for n, x in d.tensors.items()}
    d.tensors |= {
        "h.0.attn.bias": np.ones((1, 1, 4, 4), np.uint8),
        "h.0.attn.masked_bias": np.float32(-1e4).reshape(()),
        "embeddings.position_ids": np.arange(19)[None],
    }
    loaded = weights.load(d.write())
    assert_same(loaded, name)
    assert not loaded.report.missing and not loaded.report.unused


@pytest.mark.parametrize(
    "name, second, first",
    [
        ("gpt1", "lm_head.weight", "transformer.tokens_embed.weight"),
        ("gpt2", "lm_head.weight", "transformer.wte.weight"),
        ("bert", "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
        ("bert", "cls.predictions.decoder.bias", "cls.predictions.bias"),
    ],
)
def test_tied_outputs_under_either_name_or_both(name, second, first, directory):
    d = directory(name)
    d.tensors[second] = d.tensors[first]
    assert_same(weights.load(d.write()), name)
    del d.tensors[first]
    assert_same(weights.load(d.write()), name)
    d.tensors[first] = d.tensors[second] + 1
    assert f"{second} differs from" in refused(d.write())


def test_old_names_of_norms(directory):
    d = directory("bert")
    d.tensors = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): x
        for n, x in d.tensors.items()
    }
    assert_same(weights.load(d.write()), "bert")


def test_an_encoder_without_heads_and_one_with_another(directory):
    d = directory("bert")
    d.tensors = {n: x for n, x in d.tensors.items() if not n.startswith(("cls.", "bert.pooler"))}
    d.tensors |= {"classifier.weight": np.ones((3, 20), np.float32)}
    loaded = weights.load(d.write())
    assert set(loaded.report.missing) == {
        *("pooler/kernel", "pooler/bias", "masked/transform/kernel", "masked/transform/bias"),
        *(
            "masked/norm/scale",
            "masked/norm/bias",
            "masked/bias",
            "next_sentence/kernel",
            "next_sentence/bias",
        ),
    }
    assert loaded.report.unused == {"classifier.weight": (3, 20)}
    assert abs(np.asarray(loaded.model.pooler.kernel[...])).max() > 0  # fresh, not empty
    weights.export(d.path, d.path.parent / "out")  # missing heads are not invented
    assert set(weights.load(d.path.parent / "out").report.missing) == set(loaded.report.missing)
    assert json.loads((d.path.parent / "out/config.json").read_text())["architectures"] == ["BertModel"]


def test_shards(directory):
    d = directory("gpt2")
    names = sorted(d.tensors)
    shards = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({name: d.tensors[name] for name in part}, d.path / shard)
    (d.path / "model.safetensors").unlink()
    index = {"weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (d.path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same(weights.load(d.path), "gpt2")
    save_file({name: d.tensors[name] for name in names[3::2]}, d.path / "two.safetensors")
    assert f"has no {names[1]}" in refused(d.path)
    (d.path / "two.safetensors").unlink()
    assert "two.safetensors: no such file" in refused(d.path)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_precisions_become_float32(dtype, directory):
    d = directory("gpt1")
    d.tensors = {name: x.astype(dtype) for name, x in d.tensors.items()}
    for path, array in by_path(weights.load(d.write()).model).items():
        assert array.dtype == np.float32, path
    tokens = d.tensors["transformer.tokens_embed.weight"].astype(np.float32)
    np.testing.assert_array_equal(weights.load(d.path).model.tokens[...], tokens)


def test_a_configuration_with_defaults_left_out(directory):
    d = directory("bert")
    for key in ("layer_norm_eps", "hidden_dropout_prob", "hidden_act"):
        del d.config[key]
    config = weights.load(d.write()).config
    assert (config.norm_epsilon, config.dropout, config.activation) == (1e-12, 0.1, "gelu_erf")
    del d.config["hidden_size"]
    assert "has no hidden_size" in refused(d.write())
    (d.path / "config.json").write_text("{")
    assert "not JSON" in refused(d.path)
    (d.path / "config.json").write_text("[]")
    assert "expected a JSON object" in refused(d.path)
