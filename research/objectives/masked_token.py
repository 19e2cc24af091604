"""BERT's pre-training: masked tokens, and whether segment B follows A (Devlin et al., 2018, section 3.1)."""

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from research import config
from research.config import Experiment
from research.config.names import OBJECTIVES
from research.data.examples import Examples
from research.errors import UsageError
from research.objectives.distillation import mixed_over_vocabulary, taught, teacher_in
from research.objectives.objective import (
    DEFAULTS,
    Batch,
    Objective,
    Rows,
    Shapes,
    Sums,
    check_pretraining,
    halves,
)
from research.objectives.vocabulary_loss import targets_loss


def loss(model, batch: Batch, key: Array | None = None, settings: config.Objective = DEFAULTS) -> Sums:
    """Cross-entropy (nats) of masked tokens (B, P), plus `settings.next` times that of the next sentence.

    With a teacher, the former is mixed with the divergence from it. With `next` 0 the next-sentence head and
    the pooler get no gradient: "No NSP" of the paper's table 5.
    """
    x_BLD, masked_BPD, transformed_BPD = _states(model, batch, key)
    bias_V = model.masked.bias[...]
    masked_loss, masked_correct = targets_loss(model, transformed_BPD, bias_V, batch, settings.z_loss)
    mixed = {"loss": masked_loss}
    if (teacher := teacher_in(batch)) is not None:
        both = (model, masked_BPD, transformed_BPD), (teacher, *taught(_states, teacher, batch)[1:])
        mixed = mixed_over_vocabulary(masked_loss, *both, batch["weights"], settings)
    next_B2, follows_B, weights_B = model.next_logits(x_BLD), batch["next_targets"], batch["next_weights"]
    next_losses_B = optax.softmax_cross_entropy_with_integer_labels(next_B2, follows_B)
    next_loss = (next_losses_B * weights_B).sum()
    return mixed | {
        "loss": mixed["loss"] + settings.next * next_loss,
        "masked_loss": masked_loss,
        "masked_accuracy": masked_correct,
        "next_loss": next_loss,
        "next_accuracy": ((next_B2.argmax(-1) == follows_B).astype(jnp.float32) * weights_B).sum(),
    }


def _states(model, batch: Batch, key: Array | None) -> tuple[Array, Array, Array]:
    """The final states (B, L, D), those of masked tokens (B, P, D), and these transformed by the head."""
    x_BLD = model.features(batch["tokens"], batch["segments"], batch["lengths"], key)
    masked_BPD = jnp.take_along_axis(x_BLD, batch["positions"][..., None], axis=1)
    return x_BLD, masked_BPD, model.masked(masked_BPD)


def batch_shapes(experiment: Experiment) -> Shapes:
    """`lengths` exclude padding; `next_targets` are 0 where B follows A and 1 where B is random."""
    B, L, P = experiment.data.batch, experiment.data.length, experiment.data.masking.predictions
    return {
        "tokens": ((B, L), np.int32),
        "segments": ((B, L), np.int32),
        "lengths": ((B,), np.int32),
        "positions": ((B, P), np.int32),
        "targets": ((B, P), np.int32),
        "weights": ((B, P), np.float32),
        "next_targets": ((B,), np.int32),
        "next_weights": ((B,), np.float32),
    }


def synthetic(experiment: Experiment, random: np.random.Generator, rows: Rows) -> dict[str, np.ndarray]:
    """Full rows with the maximum number of predictions: the most expensive batch."""
    B, L, P = experiment.data.batch, experiment.data.length, experiment.data.masking.predictions
    tokens = rows(B, L)
    positions = np.sort(random.random((B, L)).argsort(1)[:, :P].astype(np.int32), 1)
    return {
        "tokens": tokens,
        "segments": halves(B, L),
        "lengths": np.full(B, L, np.int32),
        "positions": positions,
        "targets": np.take_along_axis(tokens, positions, 1),
        "weights": np.ones(positions.shape, np.float32),
        "next_targets": random.integers(2, size=B, dtype=np.int32),
        "next_weights": np.ones(B, np.float32),
    }


def check(experiment: Experiment) -> None:
    check_pretraining(experiment, both_ways=True)
    if experiment.model.left_only:
        raise UsageError(
            "model.left_only=true: objective.name=masked_token predicts from both sides; "
            "expected objective.name=left_to_right"
        )


def examples(experiment: Experiment) -> Examples:
    from research.data.pretraining import masked_lm

    return masked_lm.examples(experiment.data, experiment.model.vocabulary)


MASKED_TOKEN = OBJECTIVES.register("masked_token")(
    Objective(
        loss=loss,
        check=check,
        batch_shapes=batch_shapes,
        synthetic=synthetic,
        examples=examples,
        predicted=lambda experiment: experiment.data.masking.predictions / experiment.data.length,
        columns=("masked_accuracy", "next_accuracy"),
        reads_teacher=True,
    )
)
