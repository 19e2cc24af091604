"""Parameters of Transformers' Flax classes: those of the same model in PyTorch's form, or one line."""

import json
import pickle
import shutil
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from flax.serialization import to_bytes
from flax.traverse_util import unflatten_dict

from research import weights
from research.errors import LineageWarning
from research.models.parameters import by_path
from tests.weights.directory import GOLDEN, refused
from tests.weights.flax_directory import FORMS, as_flax, parameters, shards, whole
from tests.weights.tuned import CLASSES, saved

NAMES = ["gpt2", "bert"]  # GPT-1 had no class of Flax


def assert_same(found, expected):
    assert found.config == expected.config and found.task_head == expected.task_head
    assert not found.unused and found.arrays.keys() == expected.arrays.keys()
    for path, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[path], array, err_msg=path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_pytorchs_form(name, form, tmp_path):
    folder = as_flax(GOLDEN / name, tmp_path / name, FORMS[form])
    for other in ("opt_state.msgpack", "training_state.json", "events.out.tfevents.1"):
        (folder / other).write_bytes(b"\x00")  # written beside them by their scripts
    assert_same(weights.read(folder), weights.read(GOLDEN / name))


@pytest.mark.parametrize("name, labels", [key for key in CLASSES if not key[0].startswith("OpenAI")])
def test_classes_with_a_task_head(name, labels, tmp_path):
    pytest.importorskip("transformers", reason="needs the extra parity")
    saved(name, tmp_path / "theirs", labels)
    folder = as_flax(tmp_path / "theirs", tmp_path / "flax")
    assert_same(weights.read(folder), weights.read(tmp_path / "theirs"))
    assert weights.load(folder).task_head.objective == CLASSES[name, labels]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_half_precision(dtype, tmp_path):
    shutil.copytree(GOLDEN / "gpt2", tmp_path / "half", ignore=shutil.ignore_patterns("*.safetensors"))
    halves = {name: array.astype(dtype) for name, array in parameters(GOLDEN / "gpt2").items()}
    whole(tmp_path / "half", halves)
    found = by_path(weights.load(tmp_path / "half").model)["tokens"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, halves["transformer/wte/embedding"].astype(np.float32))


def test_damage_is_one_line(tmp_path):
    file = as_flax(GOLDEN / "gpt2", tmp_path / "gpt2") / "flax_model.msgpack"
    content = file.read_bytes()
    cuts = [content[:size] for size in (0, 1, 2, 9, 100, len(content) // 2, len(content) - 1)]
    others = [content + b"\x00", bytes(range(256)) * 9, b"version https://git-lfs.github.com/spec/v1\n"]
    objects = pickle.dumps({"a": 1})  # as a pickle, and as an array of Python objects
    for damaged in (*cuts, *others, objects, content.replace(b"float32", b"object0")):
        file.write_bytes(damaged)
        assert "flax_model.msgpack: cannot be read, it may be cut off or damaged" in refused(file.parent)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"transformer/h/1/mlp/c_fc/kernel": None}, "has no h.1.mlp.c_fc.weight, which blocks/mlp/expand/k"),
        ({"transformer/h/1/mlp/c_fc/kernel": np.ones((79, 20), np.float32)}, "(20, 79), but blocks/mlp/exp"),
        ({"transformer/h/3/ln_1/scale": np.ones(20, np.float32)}, "holds h.3.ln_1.weight, but its configur"),
        ({"transformer/ln_f/bias": np.ones(20, np.int32)}, "ln_f.bias is of type int32"),
        ({"transformer/ln_f/bias": np.full(20, np.nan, np.float32)}, "ln_f.bias holds numbers that are not"),
        ({"step": 3}, "flax_model.msgpack: step is of type int; expected arrays, a model's param"),
    ],
)
def test_parameters_that_do_not_fit(change, message, tmp_path):
    folder = as_flax(GOLDEN / "gpt2", tmp_path / "gpt2")
    arrays = parameters(GOLDEN / "gpt2") | change
    whole(folder, {name: array for name, array in arrays.items() if array is not None})
    assert message in refused(folder)


def test_extra_parameters_are_reported(tmp_path):
    folder = as_flax(GOLDEN / "bert", tmp_path / "bert")
    whole(folder, parameters(GOLDEN / "bert") | {"classifier/kernel": np.ones((20, 3), np.float32)})
    assert weights.load(folder).report.unused == {"classifier.weight": (3, 20)}


def test_shards_that_are_missing_or_incomplete(tmp_path):
    folder = as_flax(GOLDEN / "bert", tmp_path / "bert", shards)
    (folder / "flax_model-00002-of-00002.msgpack").write_bytes(to_bytes(unflatten_dict({"a": np.ones(2)})))
    assert "which flax_model.msgpack.index.json lists" in refused(folder)
    (folder / "flax_model-00002-of-00002.msgpack").unlink()
    assert "flax_model-00002-of-00002.msgpack: no such file" in refused(folder)


def test_of_several_forms_pytorchs_is_read_with_a_warning(tmp_path):
    folder = as_flax(GOLDEN / "gpt2", tmp_path / "gpt2")
    whole(folder, {name: array + 1 for name, array in parameters(GOLDEN / "gpt2").items()})
    shutil.copy(GOLDEN / "gpt2/model.safetensors", folder)
    with pytest.warns(LineageWarning, match="has model.safetensors and flax_model.msgpack; reads model.s"):
        assert_same(weights.read(folder), weights.read(GOLDEN / "gpt2"))
    (folder / "flax_model.msgpack").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights.read(folder)


def test_a_hub_repository_may_have_no_other(hub, tmp_path):
    hub.repositories["lineage/flax"] = as_flax(GOLDEN / "bert", tmp_path / "bert", shards)
    assert_same(weights.read("hub:lineage/flax"), weights.read(GOLDEN / "bert"))
    index = "flax_model.msgpack.index.json"
    files = [*(f"flax_model-0000{n}-of-00002.msgpack" for n in (1, 2)), index]
    assert sorted(set(hub.asked)) == ["config.json", *files]
    shutil.copy(GOLDEN / "bert/model.safetensors", tmp_path / "bert")
    hub.repositories["lineage/both"] = tmp_path / "bert"
    hub.asked.clear()
    weights.read("hub:lineage/both")
    assert sorted(set(hub.asked)) == ["config.json", "model.safetensors"]


def test_without_a_configuration(tmp_path):
    folder = as_flax(GOLDEN / "gpt2", tmp_path / "gpt2")
    (folder / "config.json").rename(tmp_path / "config.json")
    assert "has flax_model.msgpack, but no config.json" in refused(folder)
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "gpt_neo"}
    (folder / "config.json").write_text(json.dumps(config))
    assert "model_type=gpt_neo: not known; did you mean gpt2" in refused(folder)
