"""One label per example: classification, regression, multiple choice (Radford et al., 2018, section 3.3)."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from research.config import Experiment, Task
from research.config.names import OBJECTIVES
from research.data.examples import Examples
from research.data.finetuning import labels
from research.metrics.glue import scores
from research.objectives.objective import Batch, Objective, Shapes, Sums, bidirectional
from research.objectives.task import (
    ONE_OR_PAIR,
    check_task,
    predicts_tokens,
    synthetic_task,
    task_shapes,
    task_tokenizer,
)
from research.objectives.task_head import classification_loss, each_sequence, task_losses, whole_example


def squared_error(outputs_B1: Array, batch: Batch) -> tuple[Array, Sums]:
    """Squared error of scores (B,)."""
    return (jnp.square(outputs_B1[:, 0] - batch["labels"]) * batch["label_weights"]).sum(), {}


def choice_loss(outputs_BS1: Array, batch: Batch) -> tuple[Array, Sums]:
    """Cross-entropy of labels (B,), the index of the right sequence of each row."""
    return classification_loss(outputs_BS1[..., 0], batch)


def score_shapes(experiment: Experiment) -> Shapes:
    return task_shapes(experiment) | {"labels": ((experiment.data.batch,), np.float32)}


def labelled_examples(experiment: Experiment, kind: labels.Labels) -> Examples:
    """The example builder; if several steps share a call, all batches are padded to data.length."""
    from research.data.finetuning import inputs

    return inputs.examples(
        experiment.data,
        experiment.task,
        task_tokenizer(experiment),
        experiment.model.vocabulary,
        labels=kind,
        bidirectional=bidirectional(experiment.model),
        special_tokens=experiment.model.special_tokens,
        auxiliary=experiment.objective.auxiliary > 0,
        trimmed=experiment.run.steps_per_call == 1,
    )


def predict_class(task: Task, split: Any, outputs: np.ndarray) -> tuple[list[str], dict[str, float]]:
    """Predicts class names from outputs (B, K), or from (B, S, 1) for choices."""
    chosen = outputs.reshape(len(outputs), -1).argmax(-1)
    return [task.labels[one] for one in chosen.tolist()], _scores(task, split, chosen)


def probabilities(outputs: np.ndarray) -> np.ndarray:
    """Softmax of outputs (B, K), or (B, S, 1) of choices."""
    logits_BK = outputs.reshape(len(outputs), -1).astype(np.float64)
    weights_BK = np.exp(logits_BK - logits_BK.max(-1, keepdims=True))
    return weights_BK / weights_BK.sum(-1, keepdims=True)


def predict_score(task: Task, split: Any, outputs_B1: np.ndarray) -> tuple[list[float], dict[str, float]]:
    predictions = outputs_B1[:, 0].astype(float)
    return predictions.tolist(), _scores(task, split, predictions)


def _scores(task: Task, split: Any, predictions: np.ndarray) -> dict[str, float]:
    """The task's metrics over the labelled examples; empty if there are none."""
    if not split.known.any():
        return {}
    expected, given = split.labels[split.known].tolist(), predictions[split.known].tolist()
    return scores(task.metrics, expected, given, classes=len(task.labels))


CLASSIFICATION = OBJECTIVES.register("classification")(
    Objective(
        **task_losses(whole_example, classification_loss),
        check=partial(check_task, fields=ONE_OR_PAIR),
        batch_shapes=task_shapes,
        synthetic=partial(synthetic_task, classes=lambda experiment: experiment.model.outputs),
        examples=partial(labelled_examples, kind=labels.CLASSES),
        predicted=predicts_tokens,
        columns=("accuracy", "matthews", "f1"),
        head="sequence",
        outputs=lambda task: len(task.labels),
        metrics=("accuracy", "matthews", "f1"),
        predict=predict_class,
        probabilities=probabilities,
        reads_teacher=True,
    )
)

REGRESSION = OBJECTIVES.register("regression")(
    CLASSIFICATION._replace(
        **task_losses(whole_example, squared_error),
        check=partial(check_task, fields=ONE_OR_PAIR, labels=False),
        batch_shapes=score_shapes,
        examples=partial(labelled_examples, kind=labels.SCORES),
        columns=("pearson", "spearman"),
        unit="squared error",
        reads_teacher=False,
        outputs=lambda task: 1,
        metrics=("pearson", "spearman"),
        predict=predict_score,
        probabilities=None,
    )
)

CHOICE = OBJECTIVES.register("choice")(
    CLASSIFICATION._replace(
        **task_losses(each_sequence, choice_loss),
        check=partial(check_task, options=True),
        reads_teacher=False,
        synthetic=partial(synthetic_task, classes=lambda experiment: experiment.task.sequences),
        columns=("accuracy",),
        outputs=lambda task: 1,
        metrics=("accuracy",),
    )
)
