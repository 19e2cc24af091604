"""Hugging Face directories to modify, load and refuse."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from research import weights
from research.errors import UsageError

GOLDEN = Path(__file__).parents[1] / "golden"
FAMILIES = ["gpt1", "gpt2", "bert"]


class Directory:
    """A copy of a golden directory, to modify."""

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


def refused(path) -> str:
    """The error message: one line with the name of the directory."""
    with pytest.raises(UsageError) as raised:
        weights.load(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)
    return str(raised.value)
