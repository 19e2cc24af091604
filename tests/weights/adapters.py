"""Directories of adapters as PEFT writes them, made without it."""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from tests.weights.directory import GOLDEN

LAYERS = {
    "gpt1": ("c_attn", "mlp.c_fc"),
    "gpt2": ("c_attn", "mlp.c_proj"),
    "bert": ("query", "value", "attention.output.dense"),
}


class Adapter:
    """An adapter for the golden model of a family, to modify."""

    def __init__(self, family: str, folder: Path, rank: int = 3):
        self.base, self.path = folder / f"{family}-base", folder / f"{family}-adapter"
        shutil.copytree(GOLDEN / family, self.base)
        described = json.loads((self.base / "config.json").read_text())
        self.path.mkdir()
        self.config = {
            "peft_type": "LORA",
            "base_model_name_or_path": str(self.base),
            "revision": None,
            "task_type": None if family == "bert" else "CAUSAL_LM",
            "r": rank,
            "lora_alpha": 5,
            "lora_dropout": 0.25,
            "use_rslora": True,
            "target_modules": list(LAYERS[family]),
            "bias": "none",
            "use_dora": False,
            "rank_pattern": {},
            "modules_to_save": None,
        }
        random, self.tensors = np.random.default_rng(0), {}
        depth = described.get("n_layer") or described["num_hidden_layers"]
        weights = load_file(self.base / "model.safetensors")
        for n in range(depth):
            for name in LAYERS[family]:
                layer = next(key for key in weights if f".{n}." in key and key.endswith(f".{name}.weight"))
                inputs, outputs = weights[layer].shape if family != "bert" else weights[layer].shape[::-1]
                layer = f"base_model.model.{layer.removesuffix('.weight')}"
                self.tensors[f"{layer}.lora_A.weight"] = random.normal(0, 0.1, (rank, inputs))
                self.tensors[f"{layer}.lora_B.weight"] = random.normal(0, 0.1, (outputs, rank))
        self.tensors = {name: x.astype(np.float32) for name, x in self.tensors.items()}

    def write(self) -> Path:
        (self.path / "adapter_config.json").write_text(json.dumps(self.config))
        save_file(self.tensors, self.path / "adapter_model.safetensors")
        return self.path
