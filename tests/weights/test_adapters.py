"""Adapters of PEFT: read with their base model, refused by name, and written again."""

import json
import shutil
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from launch.__main__ import run
from research import weights
from research.config import Model
from research.config.sections.lora import LoRA
from research.config.sections.model import Parts
from research.errors import EnvironmentFault, LineageWarning, UsageError
from research.weights.folding import with_plain_blocks
from research.weights.layout import Weights, shapes
from tests.weights.adapters import Adapter
from tests.weights.directory import FAMILIES, GOLDEN, refused

SCALE = 5 / 3**0.5  # rsLoRA


@pytest.fixture
def adapter(tmp_path):
    return lambda family: Adapter(family, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_its_base_with_factors(family, adapter):
    """The merged weights are W + scaling · B A, as peft's Linear.get_delta_weight has it."""
    made = adapter(family)
    read = weights.read(made.write())
    own = read.config.own.block
    assert weights.model_of(made.path) == read.config
    assert (own.rank, own.alpha, own.root, own.dropout) == (3, 5.0, True, 0.25)
    tensors = load_file(made.base / "model.safetensors")
    for name, b in made.tensors.items():
        layer, _, kind = name.removeprefix("base_model.model.").partition(".lora_")
        if kind == "B.weight":
            change = SCALE * b @ made.tensors[f"base_model.model.{layer}.lora_A.weight"]
            tensors[f"{layer}.weight"] += change if family == "bert" else change.T
    save_file(tensors, made.base / "model.safetensors")
    expected = weights.read(made.base)
    config, merged = with_plain_blocks(read.config, read.arrays)
    assert config == expected.config
    for path, array in expected.arrays.items():
        np.testing.assert_allclose(merged[path], array, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_written_as_it_was(family, adapter, tmp_path):
    made = adapter(family)
    weights.export(made.write(), tmp_path / "out", "peft")
    written = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert written.keys() == made.tensors.keys()
    for name, tensor in written.items():
        np.testing.assert_array_equal(tensor, made.tensors[name])
    described = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    same = ("peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules")
    assert {key: described[key] for key in same} == {key: made.config[key] for key in same}
    assert described["base_model_name_or_path"] == str(made.base)
    assert described["fan_in_fan_out"] == (family != "bert")


def test_bfloat16_is_read(adapter):
    made = adapter("gpt2")
    exact = weights.read(made.write())
    made.tensors = {name: x.astype(ml_dtypes.bfloat16) for name, x in made.tensors.items()}
    rounded = weights.read(made.write())
    for path, array in exact.arrays.items():
        np.testing.assert_allclose(rounded.arrays[path], array, rtol=0.01 if "/lora" in path else 0)


def test_a_relative_base_is_found_from_the_current_folder(adapter, monkeypatch, tmp_path):
    made = adapter("gpt2")
    made.config["base_model_name_or_path"] = made.base.name
    monkeypatch.chdir(tmp_path)
    assert weights.model_of(made.write()).block == "lora"


def test_adapter_and_base_are_found_on_the_hub(adapter, hub):
    made = adapter("gpt2")
    made.config |= {"base_model_name_or_path": "lineage/base", "revision": "main"}
    hub.repositories.update({"lineage/base": made.base, "lineage/adapter": made.write()})
    assert weights.load("hub:lineage/adapter").config == weights.read(made.path).config
    hub.repositories.pop("lineage/base")
    made.config["base_model_name_or_path"] = "lineage/bass"
    assert "base_model_name_or_path=lineage/bass" in refused(made.write())
    hub.shut()
    with pytest.raises(EnvironmentFault, match=r"=lineage/bass@main: .*a directory"):
        weights.read(made.path)


def test_whole_layers_replace_those_of_the_base(adapter, tmp_path):
    made = adapter("gpt2")
    made.tensors["base_model.model.transformer.ln_f.weight"] = np.full(20, 2, np.float32)
    read = weights.read(made.write())
    assert (read.arrays["norm/scale"] == 2).all() and not read.unused
    weights.export(made.path, tmp_path / "out", "peft")
    described = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert described["modules_to_save"] == ["ln_f"]
    assert (weights.read(tmp_path / "out").arrays["norm/scale"] == 2).all()


def test_a_head_of_classes_is_the_adapters(adapter, tmp_path):
    made = adapter("bert")
    made.config["task_type"] = "SEQ_CLS"
    made.tensors["base_model.model.classifier.weight"] = np.ones((3, 20), np.float32)
    made.tensors["base_model.model.classifier.bias"] = np.arange(3, dtype=np.float32)
    read = weights.read(made.write())
    assert read.task_head == weights.task_head_of(made.path)
    assert read.task_head == ("classification", ("LABEL_0", "LABEL_1", "LABEL_2"))
    assert (read.arrays["task_head/bias"] == np.arange(3)).all() and "masked/bias" not in read.arrays
    weights.export(made.path, tmp_path / "out", "peft")
    described = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (described["task_type"], described["modules_to_save"]) == ("SEQ_CLS", ["classifier"])
    made.config["task_type"] = None
    assert "task_type=None: does not tell the task of classifier.weight" in refused(made.write())


def test_factors_outside_of_the_blocks_are_merged(adapter):
    made = adapter("bert")
    plain = weights.read(made.base).arrays["pooler/kernel"]
    a, b = np.ones((3, 20), np.float32), np.arange(60, dtype=np.float32).reshape(20, 3)
    layer = "base_model.model.bert.pooler.dense"
    made.tensors |= {f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b}
    with pytest.warns(LineageWarning, match="the factors for pooler.dense are merged into it"):
        read = weights.read(made.write())
    np.testing.assert_allclose(read.arrays["pooler/kernel"], plain + SCALE * (b @ a).T, rtol=1e-5)


def test_an_adapter_beside_a_whole_model_is_added_to_that(adapter):
    made = adapter("gpt2")
    expected = weights.read(made.write())
    for file in ("config.json", "model.safetensors"):
        shutil.copy(made.base / file, made.path)
    made.config["base_model_name_or_path"] = "gone"
    with pytest.warns(LineageWarning, match="adds the adapter to that model, as Transformers does"):
        read = weights.read(made.write())
    assert read.config == expected.config


REFUSED = {
    "peft_type": ("IA3", "peft_type=IA3: expected LORA"),
    "use_dora": (True, "use_dora=True: DoRA"),
    "bias": ("all", "bias=all: trained biases"),
    "lora_bias": (True, "lora_bias=True: biases of the factors"),
    "layers_to_transform": ([0], "layers_to_transform=.*some of the blocks"),
    "rank_pattern": ({"c_attn": 4}, "rank_pattern=.*ranks by layer"),
    "trainable_token_indices": ([1], "trainable_token_indices=.*rows of embeddings"),
    "init_lora_weights": ("pissa_niter_4", "init_lora_weights=pissa_niter_4: changes the base"),
    "r": ("four", "r=four: expected an integer"),
    "lora_dropout": (1, "lora_dropout=1: expected a dropout"),
    "base_model_name_or_path": (None, "base_model_name_or_path=None: names no base model"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_not_supported_is_refused_by_name(key, adapter):
    made = adapter("gpt2")
    value, message = REFUSED[key]
    made.config[key] = value
    with pytest.raises(UsageError, match=f"adapter_config.json: .*{message}"):
        weights.model_of(made.write())


def test_tensors_that_do_not_fit(adapter):
    made = adapter("gpt2")
    whole = dict(made.tensors)
    first = "base_model.model.transformer.h.0.attn.c_attn"
    for name, changes, message in (
        (
            "a block without",
            {f"{first}.lora_A.weight": None, f"{first}.lora_B.weight": None},
            "none for h.0.attn",
        ),
        ("one factor", {f"{first}.lora_B.weight": None}, "has no h.0.attn.c_attn.lora_B.weight"),
        (
            "an embedding",
            {"base_model.model.transformer.wte.lora_embedding_A": np.ones((3, 53))},
            "embeddings",
        ),
        ("DoRA", {f"{first}.lora_magnitude_vector": np.ones(60)}, "DoRA"),
        ("another size", {f"{first}.lora_A.weight": np.ones((3, 8))}, r"\(3, 8\).* base model .*gpt2-base"),
        ("not finite", {f"{first}.lora_A.weight": np.full((3, 20), np.nan)}, "not finite"),
        ("no factors", dict.fromkeys(whole), "no factors of layers in the blocks"),
    ):
        made.tensors = {k: np.float32(x) for k, x in (whole | changes).items() if x is not None}
        with pytest.raises(UsageError, match=message) as error:
            weights.read(made.write())
        assert "\n" not in str(error.value), name
    made.config["r"], made.tensors = 7, whole
    with pytest.raises(UsageError, match=r"is \(3, 20\), r=7 and its base model need \(7, 20\)"):
        weights.read(made.write())


def test_missing_and_damaged_files_are_one_line(adapter, tmp_path, capsys):
    made = adapter("gpt2")
    made.write()
    file, described = made.path / "adapter_model.safetensors", made.path / "adapter_config.json"
    file.write_bytes(file.read_bytes()[:100])
    assert "cut off or damaged" in refused(made.path)
    file.unlink()
    assert "has no adapter_model.safetensors and no adapter_model.bin" in refused(made.path)
    described.write_text("{")
    assert "not JSON" in refused(made.path)
    other = Adapter("gpt1", tmp_path)
    other.config["base_model_name_or_path"] = str(made.path)
    made.write()
    assert "its base model is an adapter, too" in refused(other.write())
    other.config["base_model_name_or_path"] = str(tmp_path / "none" / "such")
    assert "its base model: " in refused(other.write()) and "no such directory" in refused(other.path)
    with pytest.raises(UsageError, match=r"expected one of its adapters, such as .*adapter"):
        weights.read(tmp_path)
    assert run(["export", str(made.base), str(tmp_path / "out"), "--format", "peft", "--base", "x"]) == 2
    assert "model.block=transformer: has no factors" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_peft_has_no_name_for_is_not_written(tmp_path):
    sizes = dict(vocabulary=31, context=9, width=12, depth=2, heads=3)
    for family, kernels, message in (
        ("gpt2", ("query", "value"), "kernels=query,value: PEFT has no factors for query in a gpt2, only"),
        ("bert", ("qkv",), "PEFT has no factors for qkv in a bert, only for query, key, value"),
    ):
        plain = Model(family=family, norm="post" if family == "bert" else "pre", **sizes)
        config = replace(plain, block="lora", own=Parts(block=LoRA(kernels=kernels)))
        arrays = {path: np.ones(shape, np.float32) for path, shape in shapes(config).items()}
        weights.save(tmp_path / family, Weights(config, arrays, {}, None))
        with pytest.raises(UsageError, match=f"{message}.*writes merged weights"):
            weights.export(tmp_path / family, tmp_path / "x", "peft", "any")
    assert not (tmp_path / "x").exists()


def test_only_factors_and_whole_layers_are_written(adapter, tmp_path):
    """A model all of which has trained is no adapter; nor is one of another base."""
    made = adapter("gpt2")
    read = weights.read(made.write())
    for path, message in (
        ("tokens", "tokens: differ from the base's, .*'!\\*/lora\\*' trains the factors only"),
        ("blocks/mlp/output/bias", "blocks/mlp/output/bias: differ"),
    ):
        changed = read._replace(arrays=read.arrays | {path: read.arrays[path] + 1})
        weights.save(tmp_path / path, changed)
        with pytest.raises(UsageError, match=message):
            weights.export(tmp_path / path, tmp_path / "x", "peft", str(made.base))
    with pytest.raises(UsageError, match=r"does not tell the model .* expected --base DIR"):
        weights.export(tmp_path / "tokens", tmp_path / "x", "peft")
    with pytest.raises(UsageError, match=r"--base .*: has factors itself"):
        weights.export(tmp_path / "tokens", tmp_path / "x", "peft", str(made.path))
    with pytest.raises(UsageError, match=r"bert: not the base|made with model.family=bert"):
        weights.export(tmp_path / "tokens", tmp_path / "x", "peft", str(GOLDEN / "bert"))
    assert not (tmp_path / "x").exists()
