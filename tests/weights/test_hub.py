"""Weights by their name on the Hub."""

import json
import shutil

import numpy as np
import pytest
from tokenizers import Tokenizer, models

import experiments
from launch.__main__ import run
from research import weights
from research.config.settings import override
from research.errors import EnvironmentFault, UsageError
from research.models.parameters import by_path
from research.objectives.task import task_tokenizer
from tests.hub import COMMIT
from tests.weights.directory import FAMILIES, GOLDEN


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_of_the_hub_are_those_of_the_directory(name, hub):
    hub.repositories[f"lineage/{name}"] = GOLDEN / name
    loaded, expected = (weights.load(path) for path in (f"hub:lineage/{name}", GOLDEN / name))
    assert loaded.config == expected.config
    for ours, theirs in zip(by_path(loaded.model).items(), by_path(expected.model).items(), strict=True):
        assert ours[0] == theirs[0]
        np.testing.assert_array_equal(ours[1], theirs[1])
    assert sorted(hub.asked) == ["config.json", "model.safetensors"]  # no other file of the repository


def test_they_are_fetched_once_and_there_without_a_network(hub):
    hub.repositories["lineage/gpt2"] = GOLDEN / "gpt2"
    weights.read("hub:lineage/gpt2")
    weights.read(f"hub:lineage/gpt2@{COMMIT}")
    assert len(hub.asked) == 2
    hub.shut()
    weights.read("hub:lineage/gpt2")
    weights.read(f"hub:lineage/gpt2@{COMMIT}")
    with pytest.raises(
        EnvironmentFault, match=r"hub:lineage/bert: cannot be fetched .*a directory works"
    ) as e:
        weights.read("hub:lineage/bert")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["lineage/none", "lineage/gpt2@none", "gpt 2", "a/b/c", ""])
def test_a_missing_repository_is_one_line(name, hub):
    hub.repositories["lineage/gpt2"] = GOLDEN / "gpt2"
    with pytest.raises(UsageError, match=rf"^hub:{name}: not on the Hub, .* hub:OWNER/NAME@REVISION") as e:
        weights.read(f"hub:{name}")
    assert "\n" not in str(e.value)


def test_the_tokenizer_beside_them_is_taken(hub, tmp_path):
    folder = tmp_path / "with-tokenizer"
    shutil.copytree(GOLDEN / "gpt1", folder)
    Tokenizer(models.WordLevel({"good": 0, "film": 1})).save(str(folder / "tokenizer.json"))
    hub.repositories["lineage/gpt1"] = folder
    tuned = override(experiments.get("gpt1_tiny_sst2"), {"start.weights": "hub:lineage/gpt1"})
    assert task_tokenizer(tuned)().get_vocab() == {"good": 0, "film": 1}
    assert weights.load("hub:lineage/gpt1").tokenizer.get_vocab() == {"good": 0, "film": 1}


def test_a_repository_without_weights_is_refused(hub, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_bytes((GOLDEN / "gpt2" / "config.json").read_bytes())
    hub.repositories["lineage/old"] = tmp_path / "old"
    with pytest.raises(UsageError, match=r"has no model\.safetensors"):
        weights.read("hub:lineage/old")


def test_damaged_files_are_one_line(hub, tmp_path, capsys):
    shutil.copytree(GOLDEN / "gpt2", tmp_path / "cut")
    file = tmp_path / "cut" / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    hub.repositories["lineage/cut"] = tmp_path / "cut"
    assert run(["import", "huggingface", "hub:lineage/cut", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "model.safetensors: cannot be read, it may be cut off or damaged" in err
    assert not (tmp_path / "out").exists()


def test_imported_from_the_command_line(hub, tmp_path, capsys):
    hub.repositories["lineage/gpt2"] = GOLDEN / "gpt2"
    assert run(["import", "huggingface", "hub:lineage/gpt2", str(tmp_path / "gpt2")]) == 0
    config = json.loads((tmp_path / "gpt2" / "config.json").read_text())
    assert config["n_embd"] == json.loads((GOLDEN / "gpt2" / "config.json").read_text())["n_embd"]
    assert run(["import", "huggingface", "hub:lineage/none", str(tmp_path / "none")]) == 2
    assert "hub:lineage/none: not on the Hub" in capsys.readouterr().err
