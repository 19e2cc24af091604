"""Hugging Face directories in all the layouts that are met with."""

import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from research import weights
from research.models.parameters import by_path
from tests.mostly_slow import mostly_slow
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


@pytest.mark.parametrize(
    "name, key, expand, output",
    [
        ("gpt2", "n_inner", "transformer.h.{n}.mlp.c_fc", "transformer.h.{n}.mlp.c_proj"),
        (
            "bert",
            "intermediate_size",
            "bert.encoder.layer.{n}.intermediate.dense",
            "bert.encoder.layer.{n}.output.dense",
        ),
    ],
)
@pytest.mark.parametrize(
    "features", mostly_slow([37, 130])
)  # of width 20: less than four times as wide, and more
def test_mlps_of_another_width(name, key, expand, output, features, directory):
    """As wide as declared; a hidden feature without an output might as well not be there."""
    d = directory(name)
    axis = 1 if name == "gpt2" else 0  # PyTorch's linear layers are (out, in), GPT-2's are (in, out)
    for n in range(3):
        out = f"{output.format(n=n)}.weight"
        d.tensors[out] = without_features(d.tensors[out], 1 - axis, 37)
    expected = weights.load(d.write()).model
    for n in range(3):
        into, bias = f"{expand.format(n=n)}.weight", f"{expand.format(n=n)}.bias"
        out = f"{output.format(n=n)}.weight"
        d.tensors[into] = resized(d.tensors[into], axis, features, fill=3.0)
        d.tensors[bias] = resized(d.tensors[bias], 0, features, fill=3.0)
        d.tensors[out] = resized(d.tensors[out], 1 - axis, features, fill=0.0)
    d.config[key] = features
    loaded = weights.load(d.write())
    assert loaded.config.hidden == features and not loaded.report.missing and not loaded.report.unused
    tokens = np.arange(30).reshape(2, 15)
    np.testing.assert_allclose(loaded.model.features(tokens), expected.features(tokens), atol=1e-5)
    weights.export(d.path, d.path.parent / "out")
    assert json.loads((d.path.parent / "out/config.json").read_text())[key] == features
    again = by_path(weights.load(d.path.parent / "out").model)
    for path, array in by_path(loaded.model).items():
        np.testing.assert_array_equal(array, again[path], err_msg=path)


def without_features(array, axis, first):
    """Zeros from hidden feature `first` on."""
    index = np.arange(array.shape[axis]) < first
    return array * (index[:, None] if axis == 0 else index).astype(array.dtype)


def resized(array, axis, size, fill):
    shape = list(array.shape)
    shape[axis] = max(size - shape[axis], 0)
    return np.concatenate([array, np.full(shape, fill, array.dtype)], axis).take(np.arange(size), axis)


def test_an_output_table_of_its_own(directory):
    """tie_word_embeddings=false, as Transformers' GPTs may have it."""
    d = directory("gpt2")
    d.config["tie_word_embeddings"] = False
    assert "has no lm_head.weight, which output is made of" in refused(d.write())
    d.tensors["lm_head.weight"] = d.tensors["transformer.wte.weight"][::-1].copy()
    loaded = weights.load(d.write())
    assert not loaded.config.tied and not loaded.report.missing and not loaded.report.unused
    tokens = np.arange(30).reshape(2, 15)
    expected = loaded.model.features(tokens) @ d.tensors["lm_head.weight"].T
    np.testing.assert_allclose(loaded.model(tokens), expected, atol=1e-4)
    tied = weights.load(GOLDEN / "gpt2").model(tokens)
    np.testing.assert_allclose(loaded.model(tokens)[..., ::-1], tied, atol=1e-4)
    weights.export(d.path, d.path.parent / "out")
    assert json.loads((d.path.parent / "out/config.json").read_text())["tie_word_embeddings"] is False
