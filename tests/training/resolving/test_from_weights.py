"""An experiment that starts from weights: what they decide, what is said, what is refused."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models

import experiments
from launch.__main__ import run
from research import weights
from research.config import Experiment
from research.config.settings import override
from research.data.tokenizers.published import SPECIAL
from research.errors import UsageError
from research.sweeping.declare import declare_sweep
from research.training.resolving import resolve
from tests.drawn import drawn
from tests.weights.directory import GOLDEN

ENTRIES = {"bert": 53, "bert_erf": 53, "gpt2": 53}
SIZES = ["model.vocabulary=53", "model.context=19", "model.width=20", "model.depth=3", "model.heads=5"]
SHORT = {"data.length": 16}


@pytest.fixture
def published(tmp_path):
    """Copies a golden directory, with a vocabulary beside it or not."""

    def copy(name: str, vocabulary: bool = True):
        path = tmp_path / name
        shutil.copytree(GOLDEN / name, path)
        if vocabulary and name.startswith("bert"):
            (path / "vocab.txt").write_text("\n".join([*SPECIAL, *map(str, range(48))]) + "\n")
        elif vocabulary:
            Tokenizer(models.WordLevel({str(n): n for n in range(53)})).save(str(path / "tokenizer.json"))
        return path

    return copy


def started(name: str, path, kept: Experiment | None = None, **changes) -> tuple[Experiment, list[str]]:
    said = []
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    found = resolve(experiments.get(name), {"start.weights": str(path)} | SHORT | changes, said.append, kept)
    return found, said


def test_fine_tuning_from_hugging_faces_weights_gives_their_states(published):
    """Transformers' own activation, epsilon, sizes and vocabulary, without a word on the command line."""
    path = published("bert_erf")
    experiment, (said,) = started("bert_sst2", path)
    theirs = weights.load(path).config
    kept = {"dropout": 0.1, "head": "sequence", "outputs": 2}  # the experiment's own
    assert experiment.model == replace(theirs, **kept) and experiment.data.tokenizer == "start"
    assert said.startswith(f"start.weights={path} decides ") and "\n" not in said
    for setting in (*SIZES, "model.activation=gelu_erf (declared gelu_tanh)", "data.tokenizer=start"):
        assert setting in said
    model, _ = weights.start(drawn(experiment.model), path)
    batch, reference = (load_file(path / f"{name}.safetensors") for name in ("batch", "reference"))
    states = jax.jit(type(model).states)(model, batch["tokens"], batch["segments"], batch["lengths"])
    for n, state in enumerate(states):
        for row, length in enumerate(batch["lengths"]):
            theirs = reference[f"state.{n}"][row, :length]
            np.testing.assert_allclose(state[row, :length], theirs, atol=2e-5 * abs(theirs).max())


def test_a_typed_setting_that_differs_is_refused_with_the_override_to_type(published):
    path = published("bert_erf")
    expected = "start.weights=.*bert_erf differ; expected model.activation=gelu_erf"
    with pytest.raises(
        UsageError, match=f"^model.activation=gelu_tanh: {expected}, or leave these settings out$"
    ):
        started("bert_sst2", path, model__activation="gelu_tanh")
    for change in ({"model__heads": "4"}, {"model__norm_epsilon": 1e-6}, {"model__context": "512"}):
        with pytest.raises(UsageError, match="; expected model"):
            started("bert_sst2", path, **change)
    same, said = started("bert_sst2", path, model__activation="gelu_erf", model__hidden="80")
    assert same.model.activation == "gelu_erf" and "activation" not in said[0]
    with pytest.raises(UsageError, match=r"made with model\.family=gpt2, the experiment has bert"):
        started("bert_sst2", published("gpt2"))


def test_weights_of_the_experiments_own_architecture_decide_nothing(published):
    """So a run that began before weights decided anything is continued by the same command."""
    path = published("bert")
    same, _ = started("bert_sst2", path)
    again, said = [], []
    again = resolve(same, {"start.weights": str(path)}, said.append)
    assert again == same and not said


def test_pre_training_goes_on_with_the_vocabulary_of_the_weights(published, monkeypatch, tmp_path):
    path = published("gpt2")
    assert started("gpt2_tiny", path)[0].data.tokenizer == str(path)
    monkeypatch.chdir(tmp_path)
    assert started("gpt2_tiny", "gpt2")[0].data.tokenizer == "./gpt2"
    assert started("gpt2_tiny", path, data__tokenizer="char")[0].data.tokenizer == "char"
    (path / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"no tokenizer of its own; expected data\.tokenizer=NAME"):
        started("gpt2_tiny", path)


def test_a_run_goes_on_though_its_weights_are_gone(published):
    path = published("bert_erf")
    kept, _ = started("bert_base", path, data__masking__predictions=2, data__later__step=0)
    shutil.rmtree(path)
    changes = {"data__masking__predictions": 2, "data__later__step": 0}
    assert started("bert_base", path, kept, **changes) == (kept, [])
    assert started("bert_base", path, **changes)[0].model == experiments.get("bert_base").model


def test_only_the_configuration_and_the_tokenizer_are_fetched(hub, published):
    hub.repositories["lineage/erf"] = published("bert_erf")
    experiment, _ = started("bert_sst2", "hub:lineage/erf")
    assert experiment.model.activation == "gelu_erf"
    assert sorted(set(hub.asked)) == ["config.json", "vocab.txt"]


def test_the_command_line_says_it_on_standard_error(published, capsys):
    path = published("bert_erf")
    assert run(["show", "bert_sst2", f"start.weights={path}", "data.length=16", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["model"]["activation"] == "gelu_erf"
    assert printed.err.startswith(f"lineage: start.weights={path} decides ")


def test_a_sweep_of_what_the_weights_decide_is_refused(published):
    start = {"start.weights": str(published("bert_erf")), **SHORT}
    options = dict.fromkeys(("trials", "sampler"))
    with pytest.raises(UsageError, match=r"^model\.heads=4: start.weights"):
        declare_sweep(experiments.get("bert_sst2"), ["model.heads=4,5"], start, options, lambda line: None)
    rates = ["optimizer.rate.peak=1e-5,2e-5"]
    sweep = declare_sweep(experiments.get("bert_sst2"), rates, start, options, lambda line: None)
    assert sweep.base == override(sweep.base, {"model.activation": "gelu_erf"})
