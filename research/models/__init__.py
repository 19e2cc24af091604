"""Name to network."""

from jax import Array

from research.config import Model
from research.models.bert import BERT
from research.models.gpt import GPT

FAMILIES = {"gpt1": GPT, "gpt2": GPT, "bert": BERT}


def build(config: Model, *, key: Array) -> GPT | BERT:
    """A freshly initialised model; under `jax.eval_shape`, its shapes."""
    return FAMILIES[config.family](config, key=key)
