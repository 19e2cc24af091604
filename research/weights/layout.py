"""Converts parameters between other codebases and ours, by tables of names and layouts.

Our parameters have paths (`research.models.parameters.name`). Parameters of blocks are stacked along a
leading axis N; kernels are (in, out), that of queries, keys and values (in, 3, out). Theirs have one name per
block.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from research.config import Model
from research.errors import UsageError
from research.models.parameters import components

Arrays = dict[str, NDArray]

PARTS = ("query", "key", "value")
HEADS = {"pooler", "masked", "next_sentence"}  # many encoders are published without these


class Layout(NamedTuple):
    """A foreign format's storage of one parameter of one of our blocks."""

    ours: Callable[[list[NDArray]], NDArray]
    theirs: Callable[[NDArray], list[NDArray]]


SAME = Layout(lambda x: x[0], lambda x: [x])
TRANSPOSED = Layout(lambda x: x[0].T, lambda x: [x.T])
CONVOLUTION = Layout(lambda x: x[0][0], lambda x: [x[None]])  # of one position
THIRDS = Layout(
    lambda x: x[0].reshape(*x[0].shape[:-1], 3, -1), lambda x: [x.reshape(*x.shape[:-2], 3 * x.shape[-1])]
)
CONVOLUTION_THIRDS = Layout(lambda x: THIRDS.ours([x[0][0]]), lambda x: [THIRDS.theirs(x)[0][None]])
TRANSPOSED_THIRDS = Layout(lambda x: THIRDS.ours([x[0].T]), lambda x: [THIRDS.theirs(x)[0].T])
APART = Layout(lambda x: np.stack(x, axis=-2), lambda x: [x[..., i, :] for i in range(3)])
APART_TRANSPOSED = Layout(lambda x: APART.ours([y.T for y in x]), lambda x: [y.T for y in APART.theirs(x)])


class Row(NamedTuple):
    path: str  # ours
    name: str  # theirs; {n} is the block's number, {part} each of PARTS
    layout: Layout

    def names(self, n: int) -> list[str]:
        parts = PARTS if "{part}" in self.name else ("",)
        return [self.name.format(n=n, part=part) for part in parts]


Table = Sequence[Row]


class TaskHead(NamedTuple):
    """The meaning of a fine-tuned model's outputs."""

    objective: str
    labels: tuple[str, ...]


class Weights(NamedTuple):
    """The contents of a file or directory of weights."""

    config: Model
    arrays: Arrays  # by our paths, float32
    unused: dict[str, tuple[int, ...]]  # names and shapes of parameters that are not used here
    tokenizer: Tokenizer | None
    task_head: TaskHead | None = None  # of a fine-tuned run


def shapes(config: Model) -> dict[str, tuple[int, ...]]:
    """Our parameters' shapes by path."""
    return {component.name: component.shape for component in components(config)}


def to_ours(table: Table, tensors: Arrays, config: Model, source: Path) -> Arrays:
    """Take our parameters out of `tensors`; those not in the table remain there.

    Heads may be missing. Raises UsageError if another parameter is missing, has another shape, is not of a
    floating type or holds non-finite values.
    """
    arrays = {}
    needed = shapes(config)
    for row in table:
        if row.path not in needed:  # a head that fine-tuning has replaced
            continue
        shape = needed[row.path]
        if row.path.split("/")[0] in HEADS and row.names(0)[0] not in tensors:
            continue
        if not row.path.startswith("blocks/"):
            arrays[row.path] = _take(row, 0, tensors, shape, source)
            continue
        depth, *rest = shape
        arrays[row.path] = np.stack([_take(row, n, tensors, tuple(rest), source) for n in range(depth)])
        beyond = row.names(depth)[0]
        if beyond in tensors:
            raise UsageError(f"{source}: holds {beyond}, but its configuration has {depth} blocks")
    return arrays


def merge_tied(tensors: Arrays, tied: Mapping[str, str], source: Path) -> None:
    """Drop the second names of tied parameters, {second: first}. Raises UsageError if they differ."""
    for second, first in tied.items():
        if second in tensors:
            tensor = tensors.pop(second)
            if not np.array_equal(tensors.setdefault(first, tensor), tensor):
                raise UsageError(f"{source}: {second} differs from {first}; only tied ones are supported")


def to_theirs(table: Table, arrays: Mapping[str, NDArray]) -> Arrays:
    """The inverse of `to_ours`, for the parameters in `arrays`."""
    tensors = {}
    for row in table:
        if row.path not in arrays:
            continue
        blocks = arrays[row.path] if row.path.startswith("blocks/") else [arrays[row.path]]
        for n, block in enumerate(blocks):
            tensors |= zip(row.names(n), row.layout.theirs(np.asarray(block)), strict=True)
    return tensors


def _take(row: Row, n: int, tensors: Arrays, shape: tuple[int, ...], source: Path) -> NDArray:
    expected = row.layout.theirs(np.broadcast_to(np.float32(0), shape))
    taken = []
    for name, like in zip(row.names(n), expected, strict=True):
        if name not in tensors:
            raise UsageError(f"{source}: has no {name}, which {row.path} is made of")
        tensor = tensors.pop(name)
        if tensor.shape != like.shape:
            raise UsageError(f"{source}: {name} is {tensor.shape}, but {row.path} needs {like.shape}")
        if tensor.dtype.kind in "iubc":
            raise UsageError(f"{source}: {name} is of type {tensor.dtype}, expected floating numbers")
        tensor = np.asarray(tensor, np.float32)
        if not np.isfinite(tensor).all():
            raise UsageError(f"{source}: {name} holds numbers that are not finite; the file may be damaged")
        taken.append(tensor)
    return row.layout.ours(taken)


def unused_tensors(tensors: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in sorted(tensors.items())}
