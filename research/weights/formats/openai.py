"""GPT-1 as OpenAI published it (openai/finetune-transformer-lm, model/): params_shapes.json, params_0..9.npy.

The .npy files concatenate to one vector of all parameters in the order of the shapes, as in train.py:
positions (512, 768), tokens (40478, 768), then block by block. Files in the form of train.py's variables,
which join the two tables with tokens first and 512 positions last, are supported too.
"""

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from research.config import Model
from research.data.tokenizers import published
from research.errors import UsageError
from research.io.files import catch_damage, read_json
from research.weights.formats.names import OPENAI_BLOCK, OPENAI_GPT1
from research.weights.layout import Weights, to_ours, unused_tensors

SHAPES = "params_shapes.json"
HEADS, CONTEXT, DROPOUT = 12, 512, 0.1  # arguments of train.py, which the parameters do not show


def read(directory: Path) -> Weights:
    """Read the release.

    Raises UsageError for missing or damaged files, and if the numbers do not fit the shapes.
    """
    positions, tokens, *blocks = _arrays(directory)
    config = model(directory)
    names = [row.names(n)[0] for n in range(config.depth) for row in OPENAI_BLOCK]
    tensors = {"positions": positions, "tokens": tokens} | dict(zip(names, blocks, strict=True))
    arrays = to_ours(OPENAI_GPT1, tensors, config, directory)
    return Weights(config, arrays, unused_tensors(tensors), published.beside(directory))


def model(directory: Path) -> Model:
    """The model for a release's shapes. Raises UsageError for shapes that are not GPT-1's."""
    (context, width), (vocabulary, tokens_width), *blocks = _split_shapes(_shapes(directory))
    depth, rest = divmod(len(blocks), len(OPENAI_BLOCK))
    if rest or width != tokens_width:
        raise UsageError(f"{directory / SHAPES}: expected two tables and {len(OPENAI_BLOCK)} shapes a block")
    return Model(
        family="gpt1",
        vocabulary=vocabulary,
        context=context,
        width=width,
        depth=depth,
        heads=HEADS,
        dropout=DROPOUT,
        norm="post",
    )


Shapes = list[tuple[int, ...]]


def _shapes(directory: Path) -> Shapes:
    """The shapes in the order of the file: one table or two, then the blocks."""
    shapes = read_json(directory / SHAPES, list)
    try:
        shapes = [tuple(map(int, shape)) for shape in shapes]
        (_, _), (_, _), *_ = _split_shapes(shapes)
    except (TypeError, ValueError, IndexError):
        raise UsageError(f"{directory / SHAPES}: expected a list of shapes") from None
    return shapes


def _split_shapes(shapes: Shapes) -> Shapes:
    """The shapes of positions and tokens separately, then those of the blocks."""
    if len(shapes[1]) == 2:
        return shapes
    (rows, width), *blocks = shapes
    return [(CONTEXT, width), (rows - CONTEXT, width), *blocks]


def _arrays(directory: Path) -> list[NDArray]:
    """The arrays in the order of the release; a joint table of tokens and positions is split."""
    shapes, numbers = _shapes(directory), _numbers(directory)
    sizes = [math.prod(shape) for shape in shapes]
    if numbers.size != sum(sizes):
        raise UsageError(
            f"{directory}: params_*.npy hold {numbers.size:,} numbers, {SHAPES} needs {sum(sizes):,}"
        )
    flat = np.split(numbers, np.cumsum(sizes)[:-1])
    arrays = [array.reshape(shape) for array, shape in zip(flat, shapes, strict=True)]
    if len(_split_shapes(shapes)) > len(shapes):
        return [arrays[0][-CONTEXT:], arrays[0][:-CONTEXT], *arrays[1:]]
    return arrays


def _numbers(directory: Path) -> NDArray:
    """All parameters, (parameters,), from the files in numeric order."""
    numbered = {
        int(match[1]): path
        for path in directory.glob("params_*.npy")
        if (match := re.fullmatch(r"params_(\d+)\.npy", path.name))
    }
    for number in range(max(numbered, default=0) + 1):
        if number not in numbered:
            raise UsageError(f"{directory / f'params_{number}.npy'}: no such file")
    parts = []
    for _, path in sorted(numbered.items()):
        with catch_damage(path):  # NumPy parses the header as Python
            parts.append(np.load(path, allow_pickle=False).ravel())
    return np.concatenate(parts)
