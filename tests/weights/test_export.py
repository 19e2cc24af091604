"""Exported Hugging Face directories."""

import json

import numpy as np
import pytest
from safetensors import SafetensorError
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from launch.weights import export, import_
from research import weights
from research.config import Model
from research.errors import EnvironmentFault, UsageError
from research.models.parameters import by_path
from research.weights.formats import huggingface, tensor_files
from research.weights.layout import TaskHead
from tests.drawn import drawn

CONFIGS = [
    Model(family="gpt1", vocabulary=31, context=9, width=12, depth=3, heads=2, norm="post", dropout=0.1),
    Model(family="gpt2", vocabulary=31, context=9, width=12, depth=1, heads=3, activation="gelu_erf"),
    Model(
        family="bert", vocabulary=31, context=9, width=12, depth=2, heads=4, norm="post", norm_epsilon=1e-12
    ),
    Model(family="gpt2", vocabulary=31, context=9, width=12, depth=2, heads=3, hidden=17, tied=False),
    Model(family="gpt1", vocabulary=31, context=9, width=12, depth=1, heads=3, norm="post", tied=False),
    Model(family="bert", vocabulary=31, context=9, width=12, depth=2, heads=4, norm="post", hidden=50),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.family}-{config.hidden}")
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
    config_json = json.loads((tmp_path / "two/config.json").read_text())
    assert (config_json["eos_token_id"], config_json["pad_token_id"]) == (2, 3)
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
    "change, message",
    [
        ({"family": "gpt1", "norm": "pre"}, "model.norm=pre: Transformers' openai-gpt has only post"),
        ({"family": "gpt1", "norm": "post", "activation": "gelu_erf"}, "openai-gpt has only gelu_tanh"),
        ({"family": "gpt1", "norm": "post", "hidden": 50}, "hidden=50: Transformers' openai-gpt has only 48"),
        ({"activation": "relu_squared"}, "activation=relu_squared: Transformers' gpt2 has only gelu_"),
        ({"activation": "swiglu"}, "activation=swiglu: Transformers' gpt2 has only gelu_erf, gelu_tanh"),
        ({"normalization": "rms"}, "model.normalization=rms: Transformers' gpt2 has only layer"),
        ({"positions": "rotary"}, "model.positions=rotary: Transformers' gpt2 has only learned"),
        ({"positions": "none"}, "model.positions=none: Transformers' gpt2 has only learned"),
        ({"qk_norm": True}, "model.qk_norm=True: Transformers' gpt2 has only False"),
        ({"family": "bert", "norm": "post", "tied": False}, "tied=False: Transformers' bert has only True"),
        ({"family": "bert", "norm": "post", "normalization": "rms"}, "Transformers' bert has only layer"),
    ],
)
def test_models_that_transformers_has_no_class_for(change, message, tmp_path):
    sizes = {"vocabulary": 31, "context": 9, "width": 12, "depth": 1, "heads": 3}
    config = Model(**{"family": "gpt2"} | sizes | change)
    arrays = by_path(drawn(config))
    with pytest.raises(UsageError, match=message):
        huggingface.write(tmp_path / "out", config, arrays, None)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(tmp_path, directory):
    source, target = directory("gpt2").path, tmp_path / "out"
    target.mkdir()
    weights.export(source, target)  # an empty directory may be filled
    kept = (target / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        weights.export(source, target)
    assert (target / "model.safetensors").stat().st_mtime_ns == kept
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        weights.export(source, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("fault", [OSError(28, "No space left"), SafetensorError("No space left")])
def test_a_fault_while_writing_leaves_nothing(tmp_path, directory, monkeypatch, fault):
    source = directory("gpt2").path

    def full(*_, **__):
        raise fault

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(EnvironmentFault, match=r"out: cannot be written: No space left$"):
        weights.export(source, tmp_path / "deep/out")
    assert not list((tmp_path / "deep").iterdir())


def test_commands_print_one_table(tmp_path, directory, capsys):
    import_("huggingface", directory("gpt2").path, tmp_path / "one")
    export(tmp_path / "one", tmp_path / "two")
    *rows, summary, where = capsys.readouterr().out.splitlines()[-18:]
    assert len(rows) == 16 and all(row.startswith("found  ") for row in rows)
    assert summary.startswith("16 parameters found (16,660 numbers), 0 missing")
    assert where == f"weights   {tmp_path / 'two'}"


def test_the_head_of_another_package_s_objective_is_refused(tmp_path):
    config = Model(family="bert", vocabulary=31, context=9, width=12, depth=1, heads=3, norm="post")
    with pytest.raises(UsageError, match="late_tokens: Transformers has no bert with this head"):
        huggingface.write(tmp_path / "out", config, {}, None, TaskHead("late_tokens", ()))
    assert not list(tmp_path.iterdir())
