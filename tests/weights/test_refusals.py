"""Damaged, unfitting and unsupported weights: a one-line error, and nothing left behind."""

import numpy as np
import pytest

from research import weights
from research.errors import UsageError
from tests.weights.directory import FAMILIES, refused


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
    change, message = TENSOR_FAULTS[fault]
    change(d.tensors)
    assert message in refused(d.write())


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("gpt2", {"model_type": "gpt_neo"}, "model_type=gpt_neo: not known; did you mean gpt2"),
        ("gpt2", {"n_inner": 60}, "but blocks/mlp/expand/kernel needs (20, 60)"),
        ("bert", {"intermediate_size": 81}, "but blocks/mlp/expand/kernel needs (81, 20)"),
        ("bert", {"intermediate_size": "wide"}, "intermediate_size"),
        ("bert", {"tie_word_embeddings": False}, "tie_word_embeddings=False: only True is supported"),
        ("gpt2", {"activation_function": "relu"}, "activation_function=relu: not known"),
        ("bert", {"position_embedding_type": "relative_key"}, "only absolute is supported"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "only False is supported"),
        ("bert", {"type_vocab_size": 3}, "only 2 is supported"),
        ("gpt1", {"n_layer": "many"}, "n_layer=many: expected an integer"),
        ("gpt1", {"n_layer": 4}, "has no h.3.attn.c_attn.weight"),
    ],
)
def test_unsupported_configurations(name, change, message, directory):
    d = directory(name)
    d.config |= change
    assert message in refused(d.write())


def test_without_a_configuration(directory):
    d = directory("bert")
    (d.path / "config.json").unlink()
    assert "has model.safetensors, but no config.json, which describes its model" in refused(d.path)


def test_without_weights(directory):
    d = directory("bert")
    (d.path / "model.safetensors").unlink()
    assert "has no model.safetensors, no model.safetensors.index.json, no pytorch_model" in refused(d.path)


def test_not_a_directory_of_weights(tmp_path):
    assert "holds no weights in a known format (run: experiment.json; peft: adapt" in refused(tmp_path)
    assert "no such directory" in refused(tmp_path / "nowhere")
    (tmp_path / "trials").mkdir()
    assert "a sweep; expected one of its runs, such as" in refused(tmp_path)


def test_formats_are_named(tmp_path, directory):
    with pytest.raises(UsageError, match="huggingfac: no such format; did you mean huggingface"):
        weights.import_("huggingfac", tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match=r"gpt2: not openai: has no params_shapes.json"):
        weights.import_("openai", directory("gpt2").path, tmp_path / "out")
