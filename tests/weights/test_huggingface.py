"""Hugging Face directories in all the layouts that are met with, and what is refused."""

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from research import weights
from research.config import Model
from research.errors import EnvironmentFault, UsageError
from research.training.checkpoint import by_path
from research.weights import huggingface
from tests.drawn import drawn

GOLDEN = Path(__file__).parents[1] / "golden"
FAMILIES = ["gpt1", "gpt2", "bert"]


class Directory:
    """A copy of a golden directory, to be changed."""

    def __init__(self, name: str, path: Path):
        self.path = path / name
        self.path.mkdir()
        for file in ("config.json", "model.safetensors"):
            shutil.copy(GOLDEN / name / file, self.path)
        self.config = json.loads((self.path / "config.json").read_text())
        self.tensors = load_file(self.path / "model.safetensors")

    def write(self) -> Path:
        (self.path / "config.json").write_text(json.dumps(self.config))
        save_file(
            {name: np.ascontiguousarray(x) for name, x in self.tensors.items()},
            self.path / "model.safetensors",
        )
        return self.path


@pytest.fixture
def directory(tmp_path):
    return lambda name: Directory(name, tmp_path)


def assert_same(loaded, name):
    expected = by_path(weights.load(GOLDEN / name).model)
    for path, array in by_path(loaded.model).items():
        np.testing.assert_array_equal(array, expected[path], err_msg=path)


def refused(path) -> str:
    """The message, a line that names the directory."""
    with pytest.raises(UsageError) as told:
        weights.load(path)
    assert "\n" not in str(told.value) and str(path) in str(told.value)
    return str(told.value)


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
    weights.export(d.path, d.path.parent / "out")  # and what was not there is not made up
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


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "header"])
def test_damaged_files(name, damage, directory):
    d = directory(name)
    file = d.path / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "garbage": bytes(range(256)) * 40,
            "empty": b"",
            "header": whole[:20] + b"?" + whole[21:],
        }[damage]
    )
    assert "cut off or damaged" in refused(d.path)
    with pytest.raises(UsageError):
        weights.import_("huggingface", d.path, d.path.parent / "out")
    assert sorted(path.name for path in d.path.parent.iterdir()) == [name]


TENSOR_FAULTS = {
    "missing": (lambda t: t.pop("transformer.h.1.mlp.c_fc.weight"), "has no h.1.mlp.c_fc.weight"),
    "shape": (
        lambda t: t.update({"transformer.h.1.mlp.c_fc.weight": np.ones((20, 79), np.float32)}),
        r"h.1.mlp.c_fc.weight is (20, 79), but blocks/mlp/expand/kernel needs (20, 80)",
    ),
    "depth": (
        lambda t: t.update({"transformer.h.3.ln_1.weight": np.ones(20, np.float32)}),
        "holds h.3.ln_1.weight, but its configuration has 3 blocks",
    ),
    "type": (
        lambda t: t.update({"transformer.ln_f.bias": np.ones(20, np.int8)}),
        "ln_f.bias is of type int8",
    ),
    "nan": (
        lambda t: t.update({"transformer.ln_f.bias": np.full(20, np.nan, np.float32)}),
        "ln_f.bias holds numbers that are not finite",
    ),
}


@pytest.mark.parametrize("fault", TENSOR_FAULTS)
def test_tensors_that_do_not_fit(fault, directory):
    d = directory("gpt2")
    change, told = TENSOR_FAULTS[fault]
    change(d.tensors)
    assert told in refused(d.write())


@pytest.mark.parametrize(
    "name, change, told",
    [
        ("gpt2", {"model_type": "gpt_neo"}, "model_type=gpt_neo: not known; did you mean gpt2"),
        ("gpt2", {"n_inner": 60}, "n_inner=60: expected 4 × n_embd = 80"),
        ("bert", {"intermediate_size": 81}, "intermediate_size=81: expected 4 × hidden_size = 80"),
        ("gpt2", {"activation_function": "relu"}, "activation_function=relu: not known"),
        ("bert", {"position_embedding_type": "relative_key"}, "only absolute is built here"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "only False is built here"),
        ("bert", {"type_vocab_size": 3}, "only 2 is built here"),
        ("gpt1", {"n_layer": "many"}, "n_layer=many: expected an integer"),
        ("gpt1", {"n_layer": 4}, "has no h.3.attn.c_attn.weight"),
    ],
)
def test_configurations_that_are_not_built(name, change, told, directory):
    d = directory(name)
    d.config |= change
    assert told in refused(d.write())


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


def test_pickles_are_refused(directory):
    d = directory("bert")
    (d.path / "model.safetensors").rename(d.path / "pytorch_model.bin")
    assert "pytorch_model.bin, which runs code when it is read; expected model.safetensors" in refused(d.path)
    (d.path / "pytorch_model.bin").unlink()
    assert "has no model.safetensors" in refused(d.path)


def test_not_a_directory_of_weights(tmp_path):
    assert "holds no weights that are known here (run: experiment.json; hugg" in refused(tmp_path)
    assert "no such directory" in refused(tmp_path / "nowhere")


CONFIGS = [
    Model(family="gpt1", vocabulary=31, context=9, width=12, depth=3, heads=2, norm="post", dropout=0.1),
    Model(family="gpt2", vocabulary=31, context=9, width=12, depth=1, heads=3, activation="gelu_erf"),
    Model(
        family="bert", vocabulary=31, context=9, width=12, depth=2, heads=4, norm="post", norm_epsilon=1e-12
    ),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.family)
def test_export_then_import_is_the_identity(config, tmp_path):
    model = drawn(config)
    tokenizer = Tokenizer(WordLevel({"a": 0, "b": 1, "<|endoftext|>": 2, "[PAD]": 3}, unk_token="a"))
    huggingface.write(tmp_path / "one", config, by_path(model), tokenizer)
    weights.export(tmp_path / "one", tmp_path / "two")
    for directory in (tmp_path / "one", tmp_path / "two"):
        loaded = weights.load(directory)
        assert loaded.config == config
        assert loaded.tokenizer.to_str() == tokenizer.to_str()
        assert not loaded.report.missing and not loaded.report.unused
        for path, array in by_path(model).items():
            assert np.asarray(array).tobytes() == np.asarray(by_path(loaded.model)[path]).tobytes(), path
    described = json.loads((tmp_path / "two/config.json").read_text())
    assert (described["eos_token_id"], described["pad_token_id"]) == (2, 3)
    assert (tmp_path / "two/model.safetensors").read_bytes() == (
        tmp_path / "one/model.safetensors"
    ).read_bytes()


def test_a_model_without_biases_is_exported_with_zeros(tmp_path):
    config = Model(family="gpt2", vocabulary=31, context=9, width=12, depth=2, heads=3, bias=False)
    model = drawn(config)
    huggingface.write(tmp_path / "out", config, by_path(model), None)
    loaded = weights.load(tmp_path / "out")
    assert loaded.config.bias and not np.asarray(loaded.model.norm.bias[...]).any()
    tokens = np.arange(9)[None]
    np.testing.assert_allclose(loaded.model(tokens), model(tokens), atol=1e-6)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"family": "gpt1", "norm": "pre"}, "model.norm=pre: Transformers' openai-gpt has only post"),
        ({"family": "gpt1", "norm": "post", "activation": "gelu_erf"}, "openai-gpt has only gelu_tanh"),
    ],
)
def test_what_transformers_has_no_name_for(change, told, tmp_path):
    config = Model(**{"vocabulary": 31, "context": 9, "width": 12, "depth": 1, "heads": 3} | change)
    arrays = by_path(drawn(config))
    with pytest.raises(UsageError, match=told):
        huggingface.write(tmp_path / "out", config, arrays, None)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path, directory):
    source, target = directory("gpt2").path, tmp_path / "out"
    target.mkdir()
    weights.export(source, target)  # an empty directory may be filled
    kept = (target / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(UsageError, match="exists; nothing is written over"):
        weights.export(source, target)
    assert (target / "model.safetensors").stat().st_mtime_ns == kept
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        weights.export(source, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_fault_while_writing_leaves_nothing(tmp_path, directory, monkeypatch):
    source = directory("gpt2").path

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface, "save_file", full)
    with pytest.raises(EnvironmentFault, match="out: cannot be written: No space left"):
        weights.export(source, tmp_path / "deep/out")
    assert not list((tmp_path / "deep").iterdir())


def test_formats_are_named(tmp_path, directory):
    with pytest.raises(UsageError, match="huggingfac: no such format; did you mean huggingface"):
        weights.import_("huggingfac", tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match=r"gpt2: not openai: has no params_shapes.json"):
        weights.import_("openai", directory("gpt2").path, tmp_path / "out")
