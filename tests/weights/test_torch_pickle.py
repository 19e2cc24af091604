"""What PyTorch saved, in both of its forms: the same numbers, and nothing of the file is run."""

import argparse
import os
import pickle
import shutil

import numpy as np
import pytest

from research import weights
from research.errors import UsageError
from research.models.parameters import by_path
from research.weights.formats import torch_pickle
from tests.weights.directory import FAMILIES, GOLDEN

torch = pytest.importorskip("torch", reason="needs the extra parity")
TYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
forms = pytest.mark.parametrize("archive", [True, False], ids=["archive", "older"])


def save(found, path, archive: bool):
    torch.save(found, path, _use_new_zipfile_serialization=archive)
    return path


def pickled(name: str, target, archive: bool):
    """The golden directory `name`, with pytorch_model.bin in place of its safetensors."""
    shutil.copytree(GOLDEN / name, target)
    from safetensors.torch import load_file

    save(load_file(target / "model.safetensors"), target / "pytorch_model.bin", archive)
    (target / "model.safetensors").unlink()
    return target


@forms
@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
)
def test_tensors_of_every_type(dtype, archive, tmp_path):
    tensor = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype))
    kinds = {
        "whole": tensor,
        "turned": tensor.T,
        "cut": tensor[1:3, 2::2],
        "one": tensor[3, 4],
        "none": tensor[:0],
    }
    path = save(kinds, tmp_path / "a.pt", archive)
    found = torch_pickle.arrays(path, torch_pickle.load(path))
    assert found.keys() == kinds.keys()
    for name, array in found.items():
        assert str(array.dtype) == dtype and array.shape == tuple(kinds[name].shape)
        assert array.astype(np.float64).tolist() == kinds[name].double().tolist()


@forms
def test_what_is_beside_the_tensors_is_passed_over(archive, tmp_path):
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    others = {"args": argparse.Namespace(a=1), "type": torch.float16, "device": torch.device("cpu")}
    path = save(
        {"model": layer.state_dict(), "optimizer": optimizer.state_dict(), **others},
        tmp_path / "a.pt",
        archive,
    )
    found = torch_pickle.load(path)
    arrays = torch_pickle.arrays(path, found["model"])
    assert (
        arrays["weight"].tolist() == layer.weight.tolist() and arrays["bias"].tolist() == layer.bias.tolist()
    )
    assert found["optimizer"]["param_groups"][0]["lr"] == 1e-3


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@forms
def test_no_code_of_a_file_is_run(archive, tmp_path):
    path = save({"model": Harm(tmp_path / "harm"), "a": torch.ones(2)}, tmp_path / "a.pt", archive)
    assert torch_pickle.arrays(path, torch_pickle.load(path))["a"].tolist() == [1, 1]
    assert not (tmp_path / "harm").exists()


@forms
@pytest.mark.parametrize("name", FAMILIES)
def test_weights_are_those_of_safetensors(name, archive, tmp_path):
    loaded, expected = weights.load(pickled(name, tmp_path / name, archive)), weights.load(GOLDEN / name)
    assert loaded.config == expected.config and loaded.report == expected.report
    for (path, ours), theirs in zip(
        by_path(loaded.model).items(), by_path(expected.model).values(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs, path)


@forms
def test_damage_is_one_line(archive, tmp_path):
    path = pickled("gpt2", tmp_path / "gpt2", archive) / "pytorch_model.bin"
    whole = path.read_bytes()
    cuts = [whole[:size] for size in (0, 1, 2, 9, 100, len(whole) // 2, len(whole) - 9, len(whole) - 1)]
    for content in (
        *cuts,
        bytes(range(256)) * 9,
        pickle.dumps({"a": 1}),
        whole[: len(whole) // 3] + bytes(999),
    ):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"pytorch_model\.bin: (cannot be read|holds no)") as fault:
            weights.load(path.parent)
        assert "\n" not in str(fault.value)


@forms
def test_a_hub_repository_may_have_no_other(archive, hub, tmp_path):
    hub.repositories["lineage/old"] = pickled("bert", tmp_path / "old", archive)
    loaded, expected = weights.load("hub:lineage/old"), weights.load(GOLDEN / "bert")
    assert loaded.config == expected.config
    assert sorted(set(hub.asked)) == ["config.json", "pytorch_model.bin"]
