"""Classifies every word at its first piece (Devlin et al., 2018, section 5.3).

A GPT reads the words alone, as Transformers' GPT2ForTokenClassification.
"""

from typing import Any

import numpy as np

from research.config import Experiment, Task
from research.config.names import OBJECTIVES
from research.data.examples import Examples
from research.errors import UsageError
from research.metrics.entities import check_tags
from research.metrics.glue import scores
from research.objectives.classification import CLASSIFICATION
from research.objectives.objective import Shapes, bidirectional
from research.objectives.task import check_task, task_shapes, task_tokenizer
from research.objectives.task_head import classification_loss, each_token, task_losses


def check(experiment: Experiment) -> None:
    check_task(experiment, fields=(1,))
    if not bidirectional(experiment.model):
        if experiment.model.special_tokens:
            raise UsageError("model.special_tokens=true: tags of a GPT's words alone; expected false")
        if experiment.objective.auxiliary:
            raise UsageError("objective.auxiliary: tags have no next-token loss; expected 0")
    if "f1" in experiment.task.metrics:
        check_tags(experiment.task.labels)


def batch_shapes(experiment: Experiment) -> Shapes:
    """`labels` have weight 1 at a word's first piece and 0 elsewhere."""
    shape = experiment.data.batch, experiment.data.length
    return task_shapes(experiment) | {"labels": (shape, np.int32), "label_weights": (shape, np.float32)}


def examples(experiment: Experiment) -> Examples:
    from research.data.finetuning import token_classification

    model = experiment.model
    return token_classification.examples(
        experiment.data, experiment.task, task_tokenizer(experiment), model.vocabulary, bidirectional(model)
    )


def predict(task: Task, split: Any, outputs_BLK: np.ndarray) -> tuple[list[list[str]], dict[str, float]]:
    """Predicts the tags of each sentence's words; truncated words and words without pieces get no entity.

    Metrics cover the words with tags in the sentences with tags.
    """
    outside = task.labels.index("O") if "O" in task.labels else 0
    marks = split.marks  # one on each side of the words
    predictions, expected, given = [], [], []
    for row, words, firsts, labels, known in zip(
        outputs_BLK.argmax(-1), split.words, split.firsts, split.labels, split.known, strict=True
    ):
        tags, inside = np.full(len(labels), outside), firsts < len(row) - 2 * marks
        tags[words[inside]] = row[firsts[inside] + marks]
        predictions.append([task.labels[tag] for tag in tags.tolist()])
        if known:
            expected.append([task.labels[tag] for tag in labels[labels >= 0].tolist()])
            given.append([task.labels[tag] for tag in tags[labels >= 0].tolist()])
    return predictions, scores(task.metrics, expected, given) if expected else {}


TAGS = OBJECTIVES.register("tags")(
    CLASSIFICATION._replace(
        **task_losses(each_token, classification_loss),
        check=check,
        batch_shapes=batch_shapes,
        examples=examples,
        columns=("accuracy", "f1"),
        head="tokens",
        metrics=("accuracy", "f1"),
        predict=predict,
        probabilities=None,  # of words, not of examples
    )
)
