"""Hugging Face directories: config.json, model.safetensors (whole or in shards), tokenizer.json.

Older ones have pytorch_model.bin instead.

Weights outside of runs are kept in this form only.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  (NumPy then knows bfloat16, in which many are published)
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from research.config import Model
from research.errors import EnvironmentFault, UsageError
from research.io.directories import new_directory, read_json
from research.weights import tokenizer_files
from research.weights.folding import folded
from research.weights.formats import torch_pickle
from research.weights.formats.huggingface_config import DIALECTS, head_config, to_config, to_model
from research.weights.formats.names import HUGGING_FACE
from research.weights.layout import (
    Arrays,
    TaskHead,
    Weights,
    merge_tied,
    shapes,
    to_ours,
    to_theirs,
    unused_tensors,
)

CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
# Masks and positions in older files, which models now compute.
BUFFERS = re.compile(r"(^|\.)(attn\.(bias|masked_bias)|position_ids)$")
OUTSIDE = ("cls.", "lm_head.")  # parameters that are not the inner model's
OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}
# The second name of a tied parameter → its first.
TIED = {
    "gpt1": {"lm_head.weight": "tokens_embed.weight"},
    "gpt2": {"lm_head.weight": "wte.weight"},
    "bert": {
        "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
}


def read(directory: Path) -> Weights:
    """Read a directory. Raises UsageError for files that are missing, damaged, misshapen or unsupported."""
    config = model(directory)
    prefix = DIALECTS[config.family].prefix
    tensors = {
        _without(name, prefix): tensor
        for name, tensor in _tensors(directory).items()
        if not BUFFERS.search(name)
    }
    if config.tied:
        merge_tied(tensors, TIED[config.family], directory)
    arrays = to_ours(HUGGING_FACE[config.family], tensors, config, directory)
    return Weights(config, arrays, unused_tensors(tensors), tokenizer_files.read(directory))


def model(directory: Path) -> Model:
    """The model of a directory's config.json; raises as `to_model`."""
    return to_model(read_json(directory / CONFIG, dict), directory / CONFIG)


def write(
    directory: Path,
    config: Model,
    arrays: Mapping[str, NDArray],
    tokenizer: Tokenizer | None,
    task_head: TaskHead | None = None,
) -> None:
    """Write `directory`, whole or not at all, for Transformers' `from_pretrained`.

    Multipliers of `model.scaling=mup` become part of the parameters. Biases that the model lacks are written
    as zeros, since Transformers' models have them all; heads not in `arrays` are left out. Raises UsageError
    if the directory exists, and for a model that no class of Transformers computes.
    """
    if config.family not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise UsageError(f"model.family={config.family}: Transformers has only {known} of the families here")
    dialect = DIALECTS[config.family]
    config, arrays = folded(config, arrays)
    needs_head = task_head is not None or config.head != "pretraining"
    if needs_head and (task_head is None or task_head.objective not in dialect.heads):
        head = f"objective.name={task_head.objective}" if task_head else f"model.head={config.head}"
        raise UsageError(
            f"{head}: Transformers has no {config.family} with this head; "
            "start.weights and evaluate read the run itself"
        )
    needed, ours = shapes(dataclasses.replace(config, bias=True)), shapes(config)
    zeros = {path: np.broadcast_to(np.float32(0), needed[path]) for path in needed if path not in ours}
    arrays = zeros | arrays
    described = to_config(config, tokenizer, complete=needed.keys() <= arrays.keys())
    prefix, table = dialect.prefix, HUGGING_FACE[config.family]
    tensors = {
        name if name.startswith(OUTSIDE) else prefix + name: np.ascontiguousarray(tensor)
        for name, tensor in to_theirs(table, arrays).items()
    }
    if task_head is not None:
        head = dialect.heads[task_head.objective]
        described |= head_config(head, task_head)
        tensors |= {
            f"{head.name}.weight": np.ascontiguousarray(arrays["task_head/kernel"].T),
            f"{head.name}.bias": arrays["task_head/bias"],
        }
    with new_directory(directory) as folder:
        (folder / CONFIG).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        try:
            save_file(tensors, folder / WHOLE, metadata={"format": "pt"})
        except SafetensorError as error:
            raise EnvironmentFault(f"{directory}: cannot be written: {error}") from error
        (folder / WHOLE).chmod((folder / CONFIG).stat().st_mode)  # the library's files are private
        if tokenizer is not None:
            tokenizer_files.write(folder, tokenizer, config.context, dialect.inputs)


def _without(name: str, prefix: str) -> str:
    """The name as in newer files, without the prefix of the outer model."""
    name = name.removeprefix(prefix)
    for old, new in OLD_ENDINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _tensors(directory: Path) -> Arrays:
    """All shards' tensors by name."""
    if (directory / WHOLE).exists():
        return _load(directory / WHOLE)
    if (directory / INDEX).exists():
        where = read_json(directory / INDEX, dict).get("weight_map")
        if not isinstance(where, dict) or not where:
            raise UsageError(f"{directory / INDEX}: has no weight_map")
        tensors = {}
        for shard in sorted(set(where.values())):
            tensors |= _load(directory / shard)
        for name, shard in where.items():
            if name not in tensors:
                raise UsageError(f"{directory / shard}: has no {name}, which {INDEX} lists")
        return tensors
    if (path := directory / PICKLED).exists():
        return torch_pickle.arrays(path, torch_pickle.load(path))
    raise UsageError(f"{directory}: has no {WHOLE}, no {INDEX} and no {PICKLED}")


def _load(path: Path) -> Arrays:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read, it may be cut off or damaged: {error}") from None
