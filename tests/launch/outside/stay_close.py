"""An objective with a second model: fine-tuning that stays close to the weights of `objective.teacher`."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from research.config.names import OBJECTIVES
from research.objectives.next_token import NEXT_TOKEN


@dataclass(frozen=True)
class StayClose:
    strength: float = 0.01  # weight of half the squared distance [per square; from 0]


def loss(model, batch, key=None, settings=None):
    """Next-token cross-entropy and the distance from where the run started (L2-SP, Li et al., 2018)."""
    batch = dict(batch)
    pairs = zip(jax.tree.leaves(model), jax.tree.leaves(batch.pop("teacher")), strict=True)
    distance = sum(jnp.square(one - other).sum() for one, other in pairs) / 2
    sums = NEXT_TOKEN.loss(model, batch, key, settings)
    added = settings.own.strength * distance * batch["weights"].sum()  # 1 over all parts of a batch
    return sums | {"loss": sums["loss"] + added, "hard_loss": sums["loss"]}


record = NEXT_TOKEN._replace(loss=loss, reads_teacher=True)
OBJECTIVES.register("stay_close", settings=StayClose)(record)
