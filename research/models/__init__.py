"""Models by name.

A family is a class made as `family(model, key=key)` and registered under its name. It says whether a position
attends to later ones (`bidirectional`), whether the norm outside of its blocks is that of `embeddings` or of
the final `states` (`norm_of`), and whether it follows `model.scaling=mup` (`scales`; a family that says
nothing does not). It provides `features`, the final states (B, L, D); `states`, those after every block;
`summary`, one state for a whole sequence; and `output_table`. Everything else is a setting of
`research.config.Model`, read by the part that it chooses.
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
    """A freshly initialised model; under `jax.eval_shape`, its shapes."""
    family = FAMILIES[config.family]
    if config.scaling == "mup" and not getattr(family, "scales", False):
        raise UsageError(f"model.scaling=mup: model.family={config.family} has only standard")
    return family(config, key=key)
