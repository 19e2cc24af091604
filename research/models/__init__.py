"""Models by name.

A family is a class, called as `family(model, key=key)` and registered under its name. It declares whether a
position attends to later ones (`bidirectional`), whether the norm outside its blocks is that of `embeddings`
or of the final `states` (`norm_of`), and whether it supports `model.scaling=mup` (`scales`, default no). It
provides `features`, the final states (B, L, D); `states`, those after every block; `summary`, one state for a
whole sequence; and `output_table`. Everything else is a setting of `research.config.Model`, read by the part
that it selects.
"""

from jax import Array

from research.config import Model
from research.config.names import FAMILIES
from research.errors import UsageError
from research.models import parts
from research.models.bert import BERT
from research.models.gpt import GPT

__all__ = ["BERT", "FAMILIES", "GPT", "build", "parts"]


def build(config: Model, *, key: Array) -> GPT | BERT:
    """Builds a freshly initialised model; under `jax.eval_shape`, its shapes."""
    family = FAMILIES[config.family]
    if config.scaling == "mup" and not getattr(family, "scales", False):
        raise UsageError(f"model.scaling=mup: model.family={config.family} has only standard")
    return family(config, key=key)
