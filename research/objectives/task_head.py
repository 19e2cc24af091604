"""The forward pass of fine-tuning: final states, task head, the task's loss, a GPT's auxiliary loss.

A row of a batch is an example: S sequences with one label, or one label per token.
Shapes: B rows, S sequences per row, T = B × S, L length, D width, K outputs.
"""

from collections.abc import Callable
from typing import TypedDict

import jax
import jax.numpy as jnp
import optax
from jax import Array

from research import config
from research.config.hyperparameters import is_zero
from research.models.ops.dropout import dropout_mask, factors
from research.models.parts.table_dropout import drop_tables
from research.models.precision import logits_dtype
from research.objectives.distillation import divergence, mixed, taught, teacher_in
from research.objectives.objective import DEFAULTS, Batch, Loss, Outputs, Sums
from research.objectives.vocabulary_loss import vocabulary_loss

HeadInput = Callable[..., Array]  # (model, x_TLD, batch, key) → the head's input, after dropout
TaskLoss = Callable[[Array, Batch], tuple[Array, Sums]]  # (outputs, batch) → (loss, other sums)


class Losses(TypedDict):
    loss: Loss
    evaluate: Outputs


def task_losses(head_input: HeadInput, task_loss: TaskLoss) -> Losses:
    """The fields `loss` and `evaluate` of a record; the head's outputs (B, …, K) are float32.

    With a teacher, which needs a `task_loss` of classes (…, K), its divergence is part of the task's loss. A
    GPT's loss is L3 = L2 + λ·L1 (Radford et al., 2018, section 3.2); λ is `settings.auxiliary`.
    """

    def evaluate(
        model, batch: Batch, key: Array | None = None, settings: config.Objective = DEFAULTS
    ) -> tuple[Sums, Array]:
        model = drop_tables(model, key)
        key_states, key_head = (None, None) if key is None else jax.random.split(key)
        x_TLD = _states(model, batch, key_states)
        outputs = model.task_head(head_input(model, x_TLD, batch, key_head)).astype(jnp.float32)
        loss, sums = task_loss(outputs, batch)
        if (teacher := teacher_in(batch)) is not None:
            theirs = taught(head_outputs, teacher, batch)
            soft = (divergence(theirs, outputs, settings.temperature) * batch["label_weights"]).sum()
            sums |= mixed(loss, soft, settings)
            loss = sums["loss"]
        if is_zero(settings.auxiliary):
            return {"loss": loss} | sums, outputs
        lm_loss = _next_token_loss(model, x_TLD, batch, settings.auxiliary_positions)
        total = loss + settings.auxiliary * lm_loss
        return sums | {"loss": total, "task_loss": loss, "auxiliary_loss": lm_loss}, outputs

    def head_outputs(teacher, batch: Batch, key: None) -> Array:
        states_TLD = _states(teacher, batch, key)
        return teacher.task_head(head_input(teacher, states_TLD, batch, key)).astype(jnp.float32)

    def loss(model, batch: Batch, key: Array | None = None, settings: config.Objective = DEFAULTS) -> Sums:
        return evaluate(model, batch, key, settings)[0]

    return {"loss": loss, "evaluate": evaluate}


def whole_example(model, x_TLD: Array, batch: Batch, key: Array | None) -> Array:
    """(B, D): the summary of an example; for a pair read in both orders, their sum."""
    x_BD = _summaries(model, x_TLD, batch).sum(1)
    return _dropout(x_BD, x_BD.shape, model.config.dropout, key)


def each_sequence(model, x_TLD: Array, batch: Batch, key: Array | None) -> Array:
    """(B, S, D): the summaries of an example's sequences, with the same dropout mask for all."""
    x_BSD = _summaries(model, x_TLD, batch)
    return _dropout(x_BSD, (len(x_BSD), 1, x_BSD.shape[-1]), model.config.dropout, key)


def each_token(model, x_TLD: Array, batch: Batch, key: Array | None) -> Array:
    """(T, L, D): all states, with dropout as in classification."""
    return _dropout(x_TLD, x_TLD.shape, model.config.dropout, key)


def each_token_without_dropout(model, x_TLD: Array, batch: Batch, key: Array | None) -> Array:
    """(T, L, D): all states, as in Google's run_squad."""
    return x_TLD


def classification_loss(outputs: Array, batch: Batch) -> tuple[Array, Sums]:
    """Cross-entropy (nats) of labels (…), given outputs (…, K)."""
    labels, weights = batch["labels"], batch["label_weights"]
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs, labels)
    hits = (outputs.argmax(-1) == labels).astype(jnp.float32)
    return (losses * weights).sum(), {"accuracy": (hits * weights).sum()}


def _states(model, batch: Batch, key: Array | None) -> Array:
    """The final states (B·S, L, D) of all sequences."""
    tokens_TL = _flat(batch["tokens"])
    if "segments" in batch:
        return model.features(tokens_TL, _flat(batch["segments"]), _flat(batch["lengths"]), key)
    return model.features(tokens_TL, key)


def _flat(array: Array) -> Array:
    return array.reshape(-1, *array.shape[2:])


def _summaries(model, x_TLD: Array, batch: Batch) -> Array:
    return model.summary(x_TLD, _flat(batch["lengths"])).reshape(*batch["lengths"].shape, -1)


def _dropout(x: Array, shape: tuple[int, ...], rate: float, key: Array | None) -> Array:
    mask = dropout_mask(shape, rate, key, x.dtype)
    return x if mask is None else x * factors(mask, shape, x.dtype)


def _next_token_loss(model, x_TLD: Array, batch: Batch, positions: bool) -> Array:
    """L1, the next-token loss: as published, the mean over sequences of each sequence's mean.

    With `positions`, the softmax includes the position rows, which are never targets.
    """
    L = x_TLD.shape[1]
    targets_TL = jnp.roll(batch["tokens"].reshape(-1, L), -1, axis=1)  # the last has no weight
    weights_TL = batch["auxiliary_weights"].reshape(-1, L)
    table_VD = model.output_table()
    if positions:
        table_VD = jnp.concatenate([table_VD, model.multiplied(model.positions[...])])
    kept = logits_dtype(model.config)
    return vocabulary_loss(x_TLD, table_VD, None, targets_TL, weights_TL, kept=kept)[0]
