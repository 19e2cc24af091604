"""What is minimised: (model, batch, key) → weighted sums.

A batch carries a weight for every target. Whoever calls divides the weights by their sum over the whole
batch first, or the sums by it afterwards; here all is a plain sum, so parts of a batch add up exactly.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
import optax
from jax import Array

from research import config
from research.models.vocabulary_loss import vocabulary_loss

Batch = dict[str, Array]
Sums = dict[str, Array]
Objective = Callable[..., Sums]


def weights_in(batch: Batch) -> list[str]:
    """The names of a batch's weights, of which there is an array for each kind of target."""
    return [name for name in batch if name.endswith("weights")]


def objective(declared: config.Objective) -> Objective:
    """(model, batch, key) → sums, as declared."""
    return partial(OBJECTIVES[declared.name], z_loss=declared.z_loss)


def next_token(model, batch: Batch, key: Array | None = None, z_loss: float = 0.0) -> Sums:
    """Cross-entropy (nats) of each token given those before it; batches hold (B, L) arrays."""
    x_BLD, table_VD = model.features(batch["tokens"], key), model.tokens[...]
    loss, correct = vocabulary_loss(x_BLD, table_VD, None, batch["targets"], batch["weights"], z_loss)
    return {"loss": loss, "accuracy": correct}


def masked_token(model, batch: Batch, key: Array | None = None, z_loss: float = 0.0) -> Sums:
    """BERT's two losses, added: of the masked tokens (B, P), and of whether B follows A (B,)."""
    x_BLD = model.features(batch["tokens"], batch["segments"], batch["lengths"], key)
    masked_BPD = jnp.take_along_axis(x_BLD, batch["positions"][..., None], axis=1)
    masked_BPD, table_VD, bias_V = model.masked(masked_BPD), model.tokens[...], model.masked.bias[...]
    masked_loss, masked_correct = vocabulary_loss(
        masked_BPD, table_VD, bias_V, batch["targets"], batch["weights"], z_loss
    )
    next_B2, follows_B, weights_B = model.next_logits(x_BLD), batch["next_targets"], batch["next_weights"]
    next_losses_B = optax.softmax_cross_entropy_with_integer_labels(next_B2, follows_B)
    next_loss = (next_losses_B * weights_B).sum()
    return {
        "loss": masked_loss + next_loss,
        "masked_loss": masked_loss,
        "masked_accuracy": masked_correct,
        "next_loss": next_loss,
        "next_accuracy": ((next_B2.argmax(-1) == follows_B).astype(jnp.float32) * weights_B).sum(),
    }


OBJECTIVES: dict[str, Objective] = {"next_token": next_token, "masked_token": masked_token}
