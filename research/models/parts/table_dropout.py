"""Dropout of embedding tables, once per step, as in openai/finetune-transformer-lm, train.py: model.

All sequences of a step, and a tied output layer, then miss the same features of a token.
"""

from typing import Protocol, TypeVar

import jax
from jax import Array
from jax.tree_util import tree_map_with_path

from research.config import Model
from research.models.ops.dropout import dropout
from research.models.parameters import path_name


class Configured(Protocol):
    config: Model


M = TypeVar("M", bound=Configured)

KEYS = {"tokens": 2, "special_embeddings": 3, "positions": 4}  # folded into the key; 0 and 1 are in use


def drop_tables(model: M, key: Array | None) -> M:
    """Applies dropout to the tables of `model`, if `model.table_dropout` is set and there is a key."""
    config = model.config
    if key is None or not config.table_dropout:
        return model

    def drop(path, table: Array) -> Array:
        which = KEYS.get(path_name(path))
        return table if which is None else dropout(table, config.dropout, jax.random.fold_in(key, which))

    return tree_map_with_path(drop, model)
