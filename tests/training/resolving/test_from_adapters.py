"""`start.weights` that are an adapter of PEFT: its block is taken over, and continued."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models

import experiments
from launch.__main__ import run
from research.config.settings import override
from research.errors import UsageError
from research.models.parameters import by_path
from research.training.first_state import load_start_weights
from research.training.resolving import resolve
from research.weights import read
from tests.weights.adapters import Adapter


@pytest.fixture
def made(tmp_path):
    adapter = Adapter("gpt2", tmp_path)
    vocabulary = {"<|endoftext|>": 0} | {f"word{n}": n for n in range(1, 53)}
    Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>")).save(
        str(adapter.base / "tokenizer.json")
    )
    adapter.write()
    return adapter


def test_the_adapters_settings_are_adopted(made):
    declared, lines = experiments.get("gpt2_tiny"), []
    start = {"start.weights": str(made.path), "data.length": 16}
    experiment = resolve(declared, start, lines.append)
    own = experiment.model.own.block
    assert (experiment.model.block, own.rank, own.root, own.dropout) == ("lora", 3, True, 0.25)
    assert own.kernels == ("qkv", "mlp_output")
    assert experiment.data.tokenizer == str(made.path)  # the base's
    assert any("model.block=lora (declared transformer)" in line for line in lines)
    assert any("optimizer.freeze='!*/lora*' trains the adapter only" in line for line in lines)
    arrays = read(made.path).arrays
    for path, leaf in by_path(load_start_weights(experiment, lines.append)).items():
        np.testing.assert_array_equal(leaf, arrays[path])


def test_typed_settings_win_or_conflict(made, capsys):
    declared, start = experiments.get("gpt2_tiny"), {"start.weights": str(made.path), "data.length": 16}
    frozen = {"optimizer.freeze": "!*/lora*", "model.own.block.dropout": 0.5}
    lines = []
    (made.path / "text.txt").write_text("word1 word2\n" * 900)
    frozen |= {"data.source": f"files:{made.path / 'text.txt'}"}  # data are resolved before weights
    assert resolve(declared, start | frozen, lines.append).model.own.block.dropout == 0.5
    assert not any("trains the adapter only" in line for line in lines)
    assert resolve(declared, start | {"model.block": "transformer"}, print).model.block == "transformer"
    with pytest.raises(UsageError, match=r"rank=4: .*expected model\.own\.block\.rank=3"):
        resolve(declared, start | {"model.own.block.rank": 4}, print)
    typed = [f"{name}={value}" for name, value in start.items()] + ["model.own.block.rank=4"]
    assert run(["train", "gpt2_tiny", *typed, "--dir", str(made.path / "run")]) == 2
    assert "expected model.own.block.rank=3" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"width=64: .*expected model\.width=20"):
        resolve(declared, start | {"model.width": 64}, print)


def test_a_tokenizer_beside_weights_in_the_current_folder_stays(made, monkeypatch):
    """A record names it by its absolute path."""
    monkeypatch.chdir(made.base.parent)
    start = {"start.weights": made.base.name, "data.length": 16}
    kept = resolve(experiments.get("gpt2_tiny"), start, print)
    assert kept.data.tokenizer == f"./{made.base.name}"
    absolute = override(kept, {"start.weights": str(made.base), "data.tokenizer": str(made.base)})
    again = resolve(experiments.get("gpt2_tiny"), start, print, absolute)
    assert again.data.tokenizer == str(made.base)


def test_a_run_that_continues_is_the_same_also_without_the_adapter(made):
    declared, start = experiments.get("gpt2_tiny"), {"start.weights": str(made.path), "data.length": 16}
    kept = resolve(declared, start, print)
    again = resolve(declared, start | {"run.steps": 7}, print, kept)
    assert again == override(kept, {"run.steps": 7})
    made.path.rename(made.path.with_name("moved"))
    assert resolve(declared, start | {"run.steps": 7}, print, kept) == again
