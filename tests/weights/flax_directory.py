"""Directories as Transformers' Flax classes saved them, made from those of its PyTorch classes.

Flax's own modules decide the names: an Embed has an embedding, a LayerNorm a scale, a Dense or GPT-2's
convolution a kernel, (in, out) in Dense and (out, in) in the convolution. PyTorch calls all of these weight.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from flax.serialization import to_bytes
from flax.traverse_util import unflatten_dict
from safetensors.numpy import load_file, save_file

EMBEDDINGS = ("wte", "wpe", "word_embeddings", "position_embeddings", "token_type_embeddings")
NORMS = ("ln_1", "ln_2", "ln_f", "LayerNorm")


def parameters(theirs: Path) -> dict[str, Any]:
    """{"transformer/wte/embedding": array, …} of a directory of PyTorch's."""
    found = {}
    for name, array in load_file(theirs / "model.safetensors").items():
        *modules, leaf = name.split(".")
        if leaf == "weight":
            if modules[-1] in EMBEDDINGS:
                leaf = "embedding"
            elif modules[-1] in NORMS:
                leaf = "scale"
            else:
                leaf, array = "kernel", np.swapaxes(array, 0, 1)
        found["/".join([*modules, leaf])] = np.ascontiguousarray(array)
    return found


def whole(folder: Path, arrays: dict[str, Any]) -> None:
    (folder / "flax_model.msgpack").write_bytes(to_bytes(unflatten_dict(arrays, sep="/")))


def shards(folder: Path, arrays: dict[str, Any]) -> None:
    where = {name: f"flax_model-0000{1 + n % 2}-of-00002.msgpack" for n, name in enumerate(arrays)}
    for shard in set(where.values()):
        part = {name: array for name, array in arrays.items() if where[name] == shard}
        (folder / shard).write_bytes(to_bytes(unflatten_dict(part, sep="/")))
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "flax_model.msgpack.index.json").write_text(json.dumps(index))


def safetensors(folder: Path, arrays: dict[str, Any]) -> None:
    """save_pretrained(DIR, safe_serialization=True)."""
    named = {name.replace("/", "."): array for name, array in arrays.items()}
    save_file(named, folder / "model.safetensors", metadata={"format": "flax"})


FORMS = {"whole": whole, "shards": shards, "safetensors": safetensors}


def as_flax(theirs: Path, folder: Path, write=whole) -> Path:
    """A copy of a directory of PyTorch's in one of Flax's forms."""
    shutil.copytree(theirs, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    write(folder, parameters(theirs))
    return folder
