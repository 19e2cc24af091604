"""Reads an adapter of PEFT, and adds it to the weights of its base model.

Factors of a layer that is not a kernel of the blocks, such as a BERT's pooler, are merged into it. Layers of
`modules_to_save` replace the base's.
"""

import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from research.config import Model
from research.config.sections.lora import LoRA
from research.data.tokenizers import published
from research.errors import LineageWarning, UsageError
from research.io.hub import ADAPTER
from research.weights.adapters import names, settings, task
from research.weights.formats import tensor_files
from research.weights.formats.huggingface import TIED
from research.weights.formats.huggingface_config import DIALECTS
from research.weights.formats.names import HUGGING_FACE
from research.weights.layout import (
    Arrays,
    Row,
    TaskHead,
    Weights,
    merge_tied,
    shapes,
    to_ours,
    to_theirs,
    unused_tensors,
)

ARRAYS, PICKLED = "adapter_model.safetensors", "adapter_model.bin"  # the latter of older versions

Pairs = dict[str, tuple[NDArray, NDArray]]  # by layer: A (rank, inputs), B (outputs, rank)


class OtherBase(UsageError):
    """An adapter that does not fit its base model."""


class Adapter(NamedTuple):
    """An adapter's contents, for a base model that is known."""

    config: Model  # with factors, and with the adapter's head
    task_head: TaskHead | None
    factors: Arrays  # by PEFT's names, without prefixes
    merged: dict[str, NDArray]  # layer → the change of its weight (outputs, inputs)
    replaced: Arrays  # whole parameters
    table: tuple[Row, ...]  # of the base's parameters


def model(folder: Path, base: Model) -> Model:
    return parse(folder, base, None).config


def read(folder: Path, base: Weights) -> Weights:
    """The base with the adapter.

    Raises UsageError for files that are missing, damaged or unsupported, and for an adapter of another base.
    """
    adapter = parse(folder, base.config, base.task_head)
    config, factors = adapter.config, dict(adapter.factors)
    own: LoRA = config.own.block
    needed, table = shapes(config), names.factor_rows(config.family, own.kernels)
    for row in table:
        like = row.layout.theirs(np.broadcast_to(np.float32(0), needed[row.path][1:]))[0].shape
        for name in (row.names(n)[0] for n in range(config.depth)):
            if factors[name].shape != like:
                shape = factors[name].shape
                raise OtherBase(f"{folder}: {name} is {shape}, r={own.rank} and its base model need {like}")
    arrays = to_ours(table, factors, config, folder)
    changed = {*adapter.replaced, *(f"{layer}{names.WEIGHT}" for layer in adapter.merged)}
    rows = [
        row
        for row in adapter.table
        if any(name in changed for n in range(config.depth) for name in row.names(n))
    ]
    tensors = to_theirs(rows, base.arrays) | adapter.replaced
    for layer, change in adapter.merged.items():
        name = f"{layer}{names.WEIGHT}"
        if name not in tensors:
            raise OtherBase(f"{folder}: has factors for {layer}, which its base model lacks")
        if change.shape != tensors[name].shape:
            expected = f"{name} of its base model is {tensors[name].shape}"
            raise OtherBase(f"{folder}: factors for {layer} make {change.shape}, but {expected}")
        tensors[name] = tensors[name] + change
    arrays |= to_ours(rows, tensors, config, folder)
    inherited = {path: array for path, array in base.arrays.items() if path in needed}
    unused = base.unused | unused_tensors(tensors) | unused_tensors(factors)
    tokenizer = published.beside(folder) or base.tokenizer
    return Weights(config, inherited | arrays, unused, tokenizer, adapter.task_head)


def parse(folder: Path, base: Model, base_head: TaskHead | None) -> Adapter:
    """Sort an adapter's tensors. `base_head` is the head of the base's own task, if it has one."""
    if base.block != "transformer" or base.family not in DIALECTS:
        given = f"model.block={base.block}" if base.family in DIALECTS else f"model.family={base.family}"
        raise UsageError(f"{folder / ADAPTER}: its base has {given}; expected a plain GPT-1, GPT-2 or BERT")
    declared, family = settings.read(folder), base.family
    tensors = _named(folder, DIALECTS[family].prefix)
    pairs, replaced = _pairs(folder, tensors)
    table = (*HUGGING_FACE[family], *task.rows(family, replaced))
    config, head = task.with_head(folder, base, base_head, declared, replaced)
    kernels, inside = _places(folder, config, pairs)
    own = replace(declared.lora, kernels=tuple(kernels))
    config = replace(config, block="lora", own=replace(config.own, block=own))
    outside = {layer: pair for layer, pair in pairs.items() if layer not in inside}
    merged = _merged(folder, own.scale, outside, table)
    factors = {
        f"{layer}.{name}": tensors[f"{layer}.{name}"] for layer in inside for name in (names.A, names.B)
    }
    config, replaced = _tables(folder, config, replaced)
    return Adapter(config, head, factors, merged, replaced, table)


def _named(folder: Path, prefix: str) -> Arrays:
    """Tensors by names as in the tables."""
    found: Arrays = {}
    for name, tensor in _tensors(folder).items():
        name = name.removeprefix(names.PREFIX).removeprefix(prefix)
        for inner in (".modules_to_save.default.", ".modules_to_save.", ".default."):  # of older versions
            name = name.replace(inner, ".")
        found[name] = tensor
    return found


def _tensors(folder: Path) -> Arrays:
    """Tensors by the file's names."""
    if (path := folder / ARRAYS).exists():
        return tensor_files.read(path)
    if (path := folder / PICKLED).exists():
        return tensor_files.read_pickle(path)
    raise UsageError(f"{folder}: has no {ARRAYS} and no {PICKLED}")


def _pairs(folder: Path, tensors: Arrays) -> tuple[Pairs, Arrays]:
    """{layer: (A, B)} of factors, and the other tensors."""
    pairs, others = {}, {}
    for name, tensor in tensors.items():
        layer, dot, kind = name.partition(".lora_")
        if not dot:
            others[name] = tensor
        elif kind.startswith("embedding_"):
            raise UsageError(f"{folder}: {name}: factors of embeddings are not supported by model.block=lora")
        elif kind == "magnitude_vector" or kind.startswith("magnitude_vector."):
            raise UsageError(f"{folder}: {name}: DoRA is not supported by model.block=lora")
        elif kind not in ("A.weight", "B.weight"):
            raise UsageError(f"{folder}: {name}: not supported; expected lora_A.weight and lora_B.weight")
        else:
            pairs.setdefault(layer, {})[kind[0]] = tensor
    for layer, pair in pairs.items():
        if len(pair) < 2:
            raise UsageError(f"{folder}: has no {layer}.lora_{'B' if 'A' in pair else 'A'}.weight")
        if not pair["A"].ndim == pair["B"].ndim == 2 or len(pair["A"]) != pair["B"].shape[1]:
            wrong = f"{pair['A'].shape} and {pair['B'].shape}"
            raise UsageError(f"{folder}: the factors of {layer} are {wrong}: expected matrices of one rank")
    return {layer: (pair["A"], pair["B"]) for layer, pair in pairs.items()}, others


def _places(folder: Path, config: Model, layers: Iterable[str]) -> tuple[list[str], list[str]]:
    """The kernels of the blocks with factors, and their layers. Raises UsageError for some blocks only."""
    kernels, inside = [], []
    for kernel, name in names.layers(config.family).items():
        found = [n for n in range(config.depth) if name.format(n=n) in layers]
        if not found:
            continue
        if len(found) < config.depth:
            lacking = next(n for n in range(config.depth) if n not in found)
            raise OtherBase(
                f"{folder}: has factors for {name.format(n=found[0])}, none for {name.format(n=lacking)}; "
                f"expected all {config.depth} blocks of its base model, or none"
            )
        kernels.append(kernel)
        inside += [name.format(n=n) for n in found]
    if not kernels:
        raise OtherBase(
            f"{folder}: has no factors of layers in the blocks of its base model, a {config.family} with "
            f"model.depth={config.depth}"
        )
    return kernels, inside


def _merged(folder: Path, scale: float, pairs: Pairs, table: Iterable[Row]) -> dict[str, NDArray]:
    """{layer: scale · B A} of layers outside of the blocks, all of which are (outputs, inputs)."""
    known = {
        row.name.removesuffix(names.WEIGHT)
        for row in table
        if row.path.endswith("/kernel") and not row.path.startswith("blocks/")
    }
    merged = {}
    for layer, pair in pairs.items():
        if layer not in known:
            raise OtherBase(
                f"{folder}: has factors for {layer}, which its base model lacks, or which is an embedding; "
                "expected layers of the blocks, a pooler or a head"
            )
        a, b = (np.asarray(factor, np.float32) for factor in pair)
        merged[layer] = np.float32(scale) * (b @ a)
        warnings.warn(
            f"{folder}: the factors for {layer} are merged into it: model.block=lora has none there",
            LineageWarning,
            stacklevel=2,
        )
    return merged


def _tables(folder: Path, config: Model, replaced: Arrays) -> tuple[Model, Arrays]:
    """The model for replaced tables, with their rows and, if a GPT's output has its own, without the tie."""
    ((output, table), *_) = TIED[config.family].items()
    if output in replaced and table not in replaced and config.family == "bert":
        raise UsageError(f"{folder}: {output}: an output table of its own is not supported in a BERT")
    if output in replaced and not np.array_equal(replaced[output], replaced.get(table, 0)):
        config = replace(config, tied=False)
    if config.tied:
        replaced = dict(replaced)
        merge_tied(replaced, TIED[config.family], folder)
    return replace(config, vocabulary=len(replaced[table])) if table in replaced else config, replaced
