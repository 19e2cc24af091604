"""Hugging Face directories: config.json, model.safetensors (whole or in shards), tokenizer.json.

Older ones have pytorch_model.bin or, of Transformers' Flax classes, flax_model.msgpack instead, whole or in
shards.

Weights outside of runs are kept in this form only.
"""

import dataclasses
import json
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from research.config import Model
from research.data.tokenizers import published
from research.data.tokenizers.published import spaced
from research.errors import LineageWarning, UsageError
from research.io.files import new_directory, read_json
from research.weights import tokenizer_files
from research.weights.folding import folded
from research.weights.formats import flax_msgpack, tensor_files
from research.weights.formats.huggingface_config import DIALECTS, task_head_of, to_config, to_model
from research.weights.formats.huggingface_head import NAMES, NoClass, find_head, head_config
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
PICKLED, FLAX = "pytorch_model.bin", "flax_model.msgpack"
PYTORCH = {"format": "pt"}  # metadata of safetensors, which Transformers asks for
# Masks and positions in older files, which models now compute.
BUFFERS = re.compile(r"(^|\.)(attn\.(bias|masked_bias)|position_ids)$")
OUTSIDE = ("cls.", "lm_head.", *NAMES)  # parameters that are not the inner model's
# Of PyTorch's older names and of Flax's → of PyTorch's.
ENDINGS = {
    ".gamma": ".weight",
    ".beta": ".bias",
    ".kernel": ".weight",
    ".scale": ".weight",
    ".embedding": ".weight",
}
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
    described = read_json(directory / CONFIG, dict)
    config = to_model(described, directory / CONFIG)
    head, dialect = task_head_of(described), DIALECTS[config.family]
    task_head = head if isinstance(head, TaskHead) else None
    prefix = dialect.prefix
    tensors = dict(
        _as_in_pytorch(name, tensor, prefix)
        for name, tensor in _tensors(directory).items()
        if not BUFFERS.search(name)
    )
    if config.tied:
        merge_tied(tensors, TIED[config.family], directory)
    rows = dialect.heads[task_head.objective].rows if task_head else ()
    arrays = to_ours((*HUGGING_FACE[config.family], *rows), tensors, config, directory)
    return Weights(config, arrays, unused_tensors(tensors), published.beside(directory), task_head)


def model(directory: Path) -> Model:
    """The model of a directory's config.json; raises as `to_model`."""
    return to_model(read_json(directory / CONFIG, dict), directory / CONFIG)


def task_head(directory: Path) -> TaskHead | str:
    """The task head of a directory's config.json, or the reason why it has none; raises as `to_model`."""
    described = read_json(directory / CONFIG, dict)
    to_model(described, directory / CONFIG)
    return task_head_of(described)


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
        raise NoClass(f"model.family={config.family}: Transformers has only {known} of the families here")
    dialect = DIALECTS[config.family]
    config, arrays = folded(config, arrays)
    head = find_head(config, task_head, dialect.heads)
    needed, ours = shapes(dataclasses.replace(config, bias=True)), shapes(config)
    zeros = {path: np.broadcast_to(np.float32(0), needed[path]) for path in needed if path not in ours}
    arrays = zeros | arrays
    described = to_config(config, tokenizer, needed.keys() <= arrays.keys(), pads=head is not None)
    table = HUGGING_FACE[config.family]
    if head is not None and task_head is not None:
        described |= head_config(head, task_head)
        table = (*table, *head.rows)
    tensors = {
        name if name.startswith(OUTSIDE) else dialect.prefix + name: np.ascontiguousarray(tensor)
        for name, tensor in to_theirs(table, arrays).items()
    }
    with new_directory(directory) as folder:
        (folder / CONFIG).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        tensor_files.write(folder / WHOLE, tensors, like=folder / CONFIG, metadata=PYTORCH)
        if tokenizer is not None:
            words = head is not None and head.shape == "tokens" and config.family != "bert"
            tokenizer = spaced(tokenizer) if words else tokenizer
            tokenizer_files.write(folder, tokenizer, config.context, dialect.inputs, pads=head is not None)


def _as_in_pytorch(name: str, tensor: NDArray, prefix: str) -> tuple[str, NDArray]:
    """Name and values as PyTorch's newer files have them, without the prefix of the outer model.

    Flax's kernels are the transposes of PyTorch's weights, also in GPT-2's convolutions.
    """
    name = name.replace("/", ".").removeprefix(prefix)
    for ending, new in ENDINGS.items():
        if name.endswith(ending):
            return name.removesuffix(ending) + new, tensor.T if ending == ".kernel" else tensor
    return name, tensor


def _tensors(directory: Path) -> Arrays:
    """All shards' tensors by name. Of several forms the first is read, with a LineageWarning for Flax's.

    Transformers' classes for PyTorch have this order. Its Flax classes read their own form first.
    """
    found = [form for form in FORMS if any((directory / name).exists() for name in _files(form))]
    if not found:
        forms = f"no {WHOLE}, no {INDEX}, no {PICKLED} and no {FLAX}"
        raise UsageError(f"{directory}: has {forms}{_tensorflow(directory)}")
    if found[-1] == FLAX and len(found) > 1:
        warnings.warn(
            f"{directory}: has {found[0]} and {FLAX}; reads {found[0]}; rename it to read {FLAX}",
            LineageWarning,
            stacklevel=2,
        )
    form, index = _files(found[0])
    load = FORMS[found[0]]
    return load(directory / form) if (directory / form).exists() else _sharded(directory, index, load)


def _files(form: str) -> tuple[str, str]:
    """The whole file of a form, and the index of its shards."""
    return form, f"{form}.index.json"


def _sharded(directory: Path, index: str, load: Callable[[Path], Arrays]) -> Arrays:
    where = read_json(directory / index, dict).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise UsageError(f"{directory / index}: has no weight_map")
    for shard in where.values():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise UsageError(
                f"{directory / index}: shard {shard!r:.60}: expected the name of a file beside it"
            )
    tensors = {}
    for shard in sorted(set(where.values())):
        tensors |= load(directory / shard)
    for name, shard in where.items():
        if name not in tensors:
            raise UsageError(f"{directory / shard}: has no {name}, which {index} lists")
    return tensors


def _tensorflow(directory: Path) -> str:
    """How to convert the file of a repository that has only TensorFlow's form."""
    if not (directory / "tf_model.h5").exists():
        return ""
    return (
        "; tf_model.h5 needs Transformers 4: its class's from_pretrained(DIR, from_tf=True) and "
        "save_pretrained(OTHER) convert it"
    )


# The whole file of each form → how it and its shards are read.
FORMS = {WHOLE: tensor_files.read, PICKLED: tensor_files.read_pickle, FLAX: flax_msgpack.load}
TENSORS = tuple(name for form in FORMS for name in _files(form))
