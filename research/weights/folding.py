"""Converts a model to a plainer one with the same outputs: for other software, and for plain blocks.

A block whose class has a static method `folded(config, arrays)` returns the model with a plainer block, and
its arrays by path: factors move into kernels. From `model.scaling=mup` to `standard`, multipliers move into
parameters. The multiplier of a tied output table moves into the norm before it, so the final states are
scaled by it.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from research.config import Model, scaling
from research.config.names import BLOCKS
from research.models import FAMILIES
from research.weights.layout import Arrays

QKV, QUERY_NORM = "blocks/attention/qkv", "blocks/attention/query_norm"


def folds(config: Model) -> bool:
    """Whether the model's block has a plainer one with the same outputs."""
    return hasattr(BLOCKS[config.block], "folded")


def with_plain_blocks(config: Model, arrays: Mapping[str, NDArray]) -> tuple[Model, Arrays]:
    """The model with the block that its own folds into, if any, and its parameters by path."""
    return BLOCKS[config.block].folded(config, arrays) if folds(config) else (config, dict(arrays))


def folded(config: Model, arrays: Mapping[str, NDArray]) -> tuple[Model, Arrays]:
    """The model with plain blocks and standard scaling, and its parameters by path."""
    config, arrays = with_plain_blocks(config, arrays)
    query = np.float32(scaling.query_multiplier(config))
    output = np.float32(scaling.output_multiplier(config))
    thirds = np.array([[query], [1], [1]], np.float32)
    queries = {f"{QUERY_NORM}/scale": query} if config.qk_norm else dict.fromkeys(_both(QKV), thirds)
    factors = queries | {"task_head/kernel": output, "next_sentence/kernel": output}
    if not config.tied:
        factors["output"] = output
    elif FAMILIES[config.family].bidirectional:
        factors |= dict.fromkeys(_both("masked/norm"), output)
    elif config.norm == "pre":
        factors |= dict.fromkeys(_both("norm"), output)
    else:
        last_N1 = np.append(np.ones(config.depth - 1, np.float32), output)[:, None]
        factors |= dict.fromkeys(_both("blocks/mlp_norm"), last_N1)
    if scaling.relative_width(config) == query == 1:
        factors = {}
    standard = replace(config, scaling="standard", base_width=None, base_heads=None)
    return standard, {
        path: array * factors[path] if path in factors else array for path, array in arrays.items()
    }


def _both(layer: str) -> tuple[str, ...]:
    """A layer's kernel or scale, and its bias."""
    return f"{layer}/kernel", f"{layer}/scale", f"{layer}/bias"
