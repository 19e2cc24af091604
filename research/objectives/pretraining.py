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
from research.models.precision import matmul_dtype
from research.objectives.labelled import answer
from research.objectives.vocabulary_loss import vocabulary_loss

Batch = dict[str, Array]
Sums = dict[str, Array]
Objective = Callable[..., Sums]


def weights_in(batch: Batch) -> list[str]:
    """The names of a batch's weights, of which there is an array for each kind of target."""
    return [name for name in batch if name.endswith("weights")]


def objective(declared: config.Objective) -> Objective:
    """(model, batch, key) → sums, as declared."""
    if declared.name in config.LABELLED:
        return lambda model, batch, key=None: _answer(declared, model, batch, key)[0]
    return partial(OBJECTIVES[declared.name], z_loss=declared.z_loss)


def evaluation(declared: config.Objective) -> Objective:
    """(model, batch) → sums, and of a labelled task the `outputs` of every row, which are no sum."""
    if declared.name not in config.LABELLED:
        return objective(declared)

    def sums_and_outputs(model, batch: Batch) -> Sums:
        sums, outputs = _answer(declared, model, batch, None)
        return sums | {"outputs": outputs}

    return sums_and_outputs


def _answer(declared: config.Objective, model, batch: Batch, key: Array | None) -> tuple[Sums, Array]:
    return answer(model, batch, key, declared.name, declared.auxiliary)


def next_token(model, batch: Batch, key: Array | None = None, z_loss: float = 0.0) -> Sums:
    """Cross-entropy (nats) of each token given those before it; batches hold (B, L) arrays.

    Where a batch tells `documents`, given those of its own alone.
    """
    x_BLD, table_VD = model.features(batch["tokens"], key, batch.get("documents")), model.tokens[...]
    multiplied = matmul_dtype(model.config.precision)
    loss, correct = vocabulary_loss(
        x_BLD, table_VD, None, batch["targets"], batch["weights"], z_loss, multiplied
    )
    return {"loss": loss, "accuracy": correct}


def masked_token(model, batch: Batch, key: Array | None = None, z_loss: float = 0.0) -> Sums:
    """BERT's two losses, added: of the masked tokens (B, P), and of whether B follows A (B,)."""
    x_BLD = model.features(batch["tokens"], batch["segments"], batch["lengths"], key)
    masked_BPD = jnp.take_along_axis(x_BLD, batch["positions"][..., None], axis=1)
    masked_BPD, table_VD, bias_V = model.masked(masked_BPD), model.tokens[...], model.masked.bias[...]
    multiplied = matmul_dtype(model.config.precision)
    masked_loss, masked_correct = vocabulary_loss(
        masked_BPD, table_VD, bias_V, batch["targets"], batch["weights"], z_loss, multiplied
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
