"""Scores as soft targets over whole numbers (Tai et al., 2015, section 4.2), as in GPT-1's code for STS-B.

openai/finetune-transformer-lm, utils.py: stsb_label_encoding. Shapes: B rows, K whole scores from 0.
"""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from research.config import Experiment, Task
from research.config.names import OBJECTIVES
from research.data.finetuning import labels
from research.errors import UsageError
from research.objectives.classification import REGRESSION, labelled_examples, predict_score, probabilities
from research.objectives.objective import Batch, Sums
from research.objectives.task import ONE_OR_PAIR, check_task, synthetic_task
from research.objectives.task_head import task_losses, whole_example


def soft_targets(scores_B: Array, K: int) -> Array:
    """(B, K): weights on the whole numbers next to each score, with the score as mean."""
    return jnp.maximum(0, 1 - jnp.abs(scores_B[:, None] - jnp.arange(K, dtype=scores_B.dtype)))


def soft_score_loss(outputs_BK: Array, batch: Batch) -> tuple[Array, Sums]:
    """Cross-entropy (nats) of scores (B,)."""
    losses_B = optax.softmax_cross_entropy(outputs_BK, soft_targets(batch["labels"], outputs_BK.shape[-1]))
    return (losses_B * batch["label_weights"]).sum(), {}


def predict(task: Task, split: Any, outputs_BK: np.ndarray) -> tuple[list[float], dict[str, float]]:
    """Predicts the mean of the distribution."""
    means_B = probabilities(outputs_BK) @ np.arange(outputs_BK.shape[-1])
    return predict_score(task, split, means_B[:, None])


def check(experiment: Experiment) -> None:
    check_task(experiment, fields=ONE_OR_PAIR)
    given = experiment.task.labels
    whole = tuple(str(score) for score in range(len(given)))
    if given != whole:
        raise UsageError(f"task.labels={','.join(given)}: expected the whole scores, {','.join(whole)}")


SOFT_SCORES = OBJECTIVES.register("soft_scores")(
    REGRESSION._replace(
        **task_losses(whole_example, soft_score_loss),
        check=check,
        synthetic=partial(synthetic_task, classes=lambda experiment: experiment.model.outputs - 1),
        examples=partial(labelled_examples, kind=labels.SOFT_SCORES),
        unit="nats",
        outputs=lambda task: len(task.labels),
        predict=predict,
    )
)
