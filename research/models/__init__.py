"""Models by name.

A family is a class, called as `family(model, key=key)` and registered under its name. It declares whether a
position attends to later ones (`bidirectional`), whether the norm outside its blocks is that of `embeddings`
or of the final `states` (`norm_of`), and whether it supports `model.scaling=mup` (`scales`, default no). It
provides `features`, the final states (B, L, D); `states`, the input of every block and the final states;
`summary`, one state for a whole sequence; and `output_table`. Everything else is a setting of
`research.config.Model`, read by the part that it selects.
"""

from typing import TypeGuard

import jax
from flax import nnx
from jax import Array
from jax.tree_util import keystr

from research.config import Model
from research.config.names import FAMILIES
from research.errors import UsageError
from research.models import parts
from research.models.bert import BERT
from research.models.gpt import GPT
from research.models.parts import lora

__all__ = ["BERT", "FAMILIES", "GPT", "build", "is_bert", "is_gpt", "lora", "parts"]


def build(config: Model, *, key: Array) -> GPT | BERT:
    """Builds a freshly initialised model; under `jax.eval_shape`, its shapes."""
    family = FAMILIES[config.family]
    if config.scaling == "mup" and not getattr(family, "scales", False):
        raise UsageError(f"model.scaling=mup: model.family={config.family} has only standard")
    model = family(config, key=key)
    check_parameters(model)
    return model


def is_gpt(model: GPT | BERT) -> TypeGuard[GPT]:
    """Whether a model is a GPT, or one of another package's family with a GPT's direction and interface."""
    return not model.bidirectional


def is_bert(model: GPT | BERT) -> TypeGuard[BERT]:
    """As `is_gpt`, for a BERT."""
    return model.bidirectional


def check_parameters(model: nnx.Module) -> None:
    """Raises UsageError for a variable that is not an `nnx.Param`: training would treat it as one."""
    leaves = jax.tree_util.tree_leaves_with_path(model, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
    for path, leaf in leaves:
        if not isinstance(leaf, nnx.Param):
            where = keystr(path, simple=True, separator="/")
            raise UsageError(
                f"{where}: a {type(leaf).__name__} would be trained as a parameter; expected nnx.Param: "
                "parts of a model have no state"
            )
