"""An objective: next-token prediction in which later tokens of a sequence count for more."""

import jax.numpy as jnp

from research.config.names import OBJECTIVES
from research.objectives.next_token import NEXT_TOKEN


def loss(model, batch, key=None, settings=None):
    length = batch["tokens"].shape[1]
    ramp_L = 2 * (jnp.arange(length, dtype=jnp.float32) + 1) / (length + 1)  # of mean 1
    return NEXT_TOKEN.loss(model, batch | {"weights": batch["weights"] * ramp_L}, key, settings)


OBJECTIVES.register("late_tokens")(NEXT_TOKEN._replace(loss=loss))
