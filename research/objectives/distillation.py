"""The teacher's part of a loss (Hinton et al., 2015): with `objective.teacher`.

    loss = (1 − soft) · hard + soft · T² · KL(teacher / T ‖ student / T) + hidden · (1 − cosine)

`hard` is the loss of the labels; the cosine, as in DistilBERT (Sanh et al., 2019), is that of final states.
Shapes: B batch, L length, D width, V vocabulary, K outputs.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from research import config
from research.config.hyperparameters import is_zero
from research.models.parts.blocks import auxiliary_losses
from research.models.precision import matmul_dtype
from research.objectives.objective import Batch, Sums
from research.objectives.vocabulary_loss import over_pieces


def teacher_in(batch: Batch) -> Any:
    """The frozen model of `objective.teacher`; None without one."""
    return batch.get("teacher")


def taught(function: Callable, *arguments: Any) -> Any:
    """`function` of a teacher, without dropout, whose blocks add nothing to the student's loss."""
    with auxiliary_losses.being([]):
        return function(*arguments, None)


def divergence(teacher: Array, student: Array, temperature: Any) -> Array:
    """T² · KL of the distributions of logits (…, K) at temperature T, in nats (…)."""
    log_p, log_q = (jax.nn.log_softmax(logits / temperature) for logits in (teacher, student))
    return temperature * temperature * (jnp.exp(log_p) * (log_p - log_q)).sum(-1)


def mixed(hard: Array, soft: Array, settings: config.Objective) -> Sums:
    """The loss of the labels mixed with the divergence from the teacher, and both."""
    loss = (1 - settings.soft) * hard + settings.soft * soft
    return {"loss": loss, "hard_loss": hard, "soft_loss": soft}


def mixed_over_vocabulary(
    hard: Array,
    student: tuple[Any, Array, Array],
    teacher: tuple[Any, Array, Array],
    weights_BL: Array,
    settings: config.Objective,
) -> Sums:
    """`mixed`, with the divergence over the vocabulary and the cosine, both weighted.

    Student and teacher are a model, its final states (B, L, D) at the targets, and what its output table is
    multiplied with: the same or, in a BERT, these transformed.
    """
    soft = _divergence_over_vocabulary(teacher, student, weights_BL, settings.temperature)
    sums = mixed(hard, soft, settings)
    if is_zero(settings.hidden):
        return sums
    cosine_BL = _cosine(student[1], jax.lax.stop_gradient(teacher[1]))
    hidden = ((1 - cosine_BL) * weights_BL).sum()
    return sums | {"loss": sums["loss"] + settings.hidden * hidden, "hidden_loss": hidden}


def _divergence_over_vocabulary(teacher, student, weights_BL: Array, temperature: Any) -> Array:
    """The weighted sum over all targets; logits are computed for a few at a time, again for the gradient."""
    outputs = [_output(model) for model, _, _ in (teacher, student)]

    def add(total, piece):
        theirs_BLD, weights_BL, ours_BLD = piece
        losses_BL = divergence(outputs[0](theirs_BLD), outputs[1](ours_BLD), temperature)
        return total + (losses_BL * weights_BL).sum(), None

    entries = 2 * len(student[0].output_table())
    return over_pieces(jax.checkpoint(add), jnp.float32(0), (teacher[2], weights_BL, student[2]), entries)[0]


def _output(model: Any) -> Callable[[Array], Array]:
    """States (B, L, D) → logits (B, L, V), float32, in the model's precision."""
    table_VD, dtype = model.output_table(), matmul_dtype(model.config.precision)
    bias_V = model.masked.bias[...] if model.bidirectional else jnp.float32(0)

    def logits(x_BLD: Array) -> Array:
        kind = x_BLD.dtype if dtype is None else dtype
        x_BLD, table = x_BLD.astype(kind), table_VD.astype(kind)
        return jnp.einsum("BLD,VD->BLV", x_BLD, table, preferred_element_type=jnp.float32) + bias_V

    return logits


def _cosine(x: Array, y: Array) -> Array:
    """The cosine of states (…, D), float32 (…)."""
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    norms = jnp.linalg.norm(x, axis=-1) * jnp.linalg.norm(y, axis=-1)
    return (x * y).sum(-1) / jnp.maximum(norms, 1e-8)  # as in PyTorch
