"""llm.c's model files (karpathy/llm.c, train_gpt2.py: write_model), such as gpt2_124M.bin.

A header of 256 int32, then all parameters of one type: tables, then each parameter of all blocks. Version 1
is float32; versions 3 (float32) and 5 (bfloat16) pad the vocabulary to a multiple of 128 with zeros.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from research.config import Model
from research.errors import UsageError
from research.io.files import new_file
from research.io.text import reading
from research.weights.folding import folded
from research.weights.formats.names import LLMC
from research.weights.layout import Arrays, Weights, shapes, to_ours, to_theirs

MAGIC, HEADER, PADDED = 20240326, 256, 128
TYPES = {1: np.dtype("<f4"), 3: np.dtype("<f4"), 5: np.dtype(ml_dtypes.bfloat16)}  # by version
VERSIONS = {"llmc": 3, "llmc_bf16": 5}  # by the name of the export format
FIELDS = ("context", "vocabulary", "depth", "heads", "width")  # in the header's order, after the version


class Header(NamedTuple):
    version: int
    model: Model
    rows: int  # of the token table, padding included


def is_model(path: Path) -> bool:
    """Whether a file begins as llm.c's model files do."""
    with reading(path), open(path, "rb") as file:
        return file.read(4) == np.int32(MAGIC).tobytes()


def read(path: Path) -> Weights:
    """Read a file. Raises UsageError for one that is damaged, cut off or of an unsupported version."""
    version, config, rows = _header(path)
    dtype, names = TYPES[version], list(_tensors(config, rows))
    count = sum(math.prod(shape) for _, shape in names)
    with reading(path):
        size, expected = path.stat().st_size, 4 * HEADER + count * dtype.itemsize
        if size != expected:
            raise UsageError(f"{path}: {size:,} bytes, expected {expected:,}; it may be cut off or damaged")
        numbers = np.fromfile(path, dtype, count, offset=4 * HEADER)
    tensors, begin = {}, 0
    for name, shape in names:
        end = begin + math.prod(shape)
        tensors[name], begin = numbers[begin:end].reshape(shape), end
    tensors["wte"] = tensors["wte"][: config.vocabulary]
    return Weights(config, to_ours(LLMC, _by_block(tensors), config, path), {}, None)


def model(path: Path) -> Model:
    """The model of a file's header; llm.c has GPT-2 without dropout."""
    return _header(path).model


def write(path: Path, config: Model, arrays: Mapping[str, NDArray], version: int) -> None:
    """Write a file for llm.c, whole or not at all. Biases that the model lacks are written as zeros.

    Raises UsageError if the file exists, and for a model that llm.c does not compute.
    """
    if path.exists():
        raise UsageError(f"{path}: exists and is not overwritten; choose another")
    config, arrays = folded(config, arrays)
    _check_exportable(config)
    ours = shapes(_described(*(getattr(config, field) for field in FIELDS)))
    arrays = {name: np.zeros(shape, np.float32) for name, shape in ours.items()} | dict(arrays)
    rows = -(-config.vocabulary // PADDED) * PADDED
    header = np.zeros(HEADER, "<i4")
    header[:8] = MAGIC, version, *(getattr(config, field) for field in FIELDS), rows
    by_block = to_theirs(LLMC, arrays)
    by_block["wte"] = np.pad(by_block["wte"], ((0, rows - config.vocabulary), (0, 0)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file:
        file.write(header.tobytes())
        for name, _ in _tensors(config, rows):
            for n in range(config.depth) if "{n}" in name else range(1):
                file.write(by_block[name.format(n=n)].astype(TYPES[version]).tobytes())


def _header(path: Path) -> Header:
    with reading(path):
        header = np.fromfile(path, "<i4", HEADER)
    if len(header) < HEADER or header[0] != MAGIC:
        raise UsageError(f"{path}: not a model file of llm.c: does not begin with {MAGIC} and its header")
    version, *sizes = header[1:8].tolist()
    if version not in TYPES or (version == 3 and sizes[-1] == 0):
        raise UsageError(
            f"{path}: version {version} of llm.c's model files: expected 1, 3 or 5, as its train_gpt2.py "
            "writes them since May 2024"
        )
    if min(sizes[:5]) < 1 or sizes[4] % sizes[3]:
        raise UsageError(f"{path}: its header has sizes {', '.join(map(str, sizes[:5]))}; it may be damaged")
    config = _described(*sizes[: len(FIELDS)])
    rows = config.vocabulary if version == 1 else sizes[5]
    if rows < config.vocabulary:
        raise UsageError(
            f"{path}: its table has {rows} rows for {config.vocabulary} tokens; it may be damaged"
        )
    return Header(version, config, rows)


def _described(context: int, vocabulary: int, depth: int, heads: int, width: int) -> Model:
    return Model(
        family="gpt2",
        vocabulary=vocabulary,
        context=context,
        width=width,
        depth=depth,
        heads=heads,
        dropout=0.0,
    )


def _tensors(config: Model, rows: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(name, shape) in the file's order; a name with {n} has all blocks, depth first."""
    ours = shapes(_described(*(getattr(config, field) for field in FIELDS)))
    for row in LLMC:
        shape = ours[row.path]
        inside = row.path.startswith("blocks/")
        like = row.layout.theirs(np.broadcast_to(np.float32(0), shape[1:] if inside else shape))[0].shape
        if row.path == "tokens":
            like = (rows, config.width)
        yield row.name, (config.depth, *like) if inside else like


def _by_block(tensors: Arrays) -> Arrays:
    found: Arrays = {}
    for name, tensor in tensors.items():
        if "{n}" in name:
            found |= {name.format(n=n): block for n, block in enumerate(tensor)}
        else:
            found[name] = tensor
    return found


def _check_exportable(config: Model) -> None:
    """Raises UsageError for a variant that llm.c does not compute, with the first reason."""
    only = {
        "family": "gpt2",
        "head": "pretraining",
        "block": "transformer",
        "norm": "pre",
        "normalization": "layer",
        "norm_epsilon": 1e-5,
        "positions": "learned",
        "activation": "gelu_tanh",
        "qk_norm": False,
        "tied": True,
        "mlp_width": 4 * config.width,
    }
    for field, value in only.items():
        if getattr(config, field) != value:
            named = "hidden" if field == "mlp_width" else field
            raise UsageError(f"model.{named}={getattr(config, field)}: llm.c has only {value}")
