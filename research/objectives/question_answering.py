"""Answers that are spans of a paragraph (Devlin et al., 2018, section 4.2), as in Google's run_squad."""

import math
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from research.config import Experiment, Task
from research.config.names import OBJECTIVES
from research.data.examples import Examples
from research.errors import UsageError
from research.metrics.squad import score
from research.metrics.squad2 import Prediction, final_text, measure
from research.objectives.objective import Batch, Objective, Shapes, Sums, bidirectional
from research.objectives.task import check_task, predicts_tokens, synthetic_task, task_shapes, task_tokenizer
from research.objectives.task_head import each_token_without_dropout, task_losses


def span_loss(outputs_BL2: Array, batch: Batch) -> tuple[Array, Sums]:
    """Mean of the cross-entropies (nats) of an answer's start and end positions."""
    logits_B2L, weights_B = outputs_BL2.swapaxes(1, 2), batch["label_weights"]
    losses_B2 = optax.softmax_cross_entropy_with_integer_labels(logits_B2L, batch["labels"])
    hits_B = (logits_B2L.argmax(-1) == batch["labels"]).all(-1).astype(jnp.float32)
    return (losses_B2.mean(-1) * weights_B).sum(), {"accuracy": (hits_B * weights_B).sum()}


SQUAD2 = (  # metrics with task.unanswerable, beside those of SQuAD 1.1
    "has_answer_exact_match",
    "has_answer_f1",
    "no_answer_accuracy",
    "best_exact_match",
    "best_exact_match_threshold",
    "best_f1",
    "best_f1_threshold",
)


def check(experiment: Experiment) -> None:
    check_task(experiment, fields=(2,), labels=False)
    if not bidirectional(experiment.model):
        name = experiment.objective.name
        raise UsageError(f"objective.name={name}: needs model.family=bert, which reads in both directions")
    for metric in () if experiment.task.unanswerable else experiment.task.metrics:
        if metric in SQUAD2:
            raise UsageError(f"task.metrics={metric}: expected task.unanswerable=true, as in SQuAD 2.0")


def batch_shapes(experiment: Experiment) -> Shapes:
    """`labels` are the positions of an answer's first and last token, 0 if the window has no answer."""
    return task_shapes(experiment) | {"labels": ((experiment.data.batch, 2), np.int32)}


def examples(experiment: Experiment) -> Examples:
    from research.data.finetuning import question_answering

    tokenizer, vocabulary = task_tokenizer(experiment), experiment.model.vocabulary
    return question_answering.examples(experiment.data, experiment.task, tokenizer, vocabulary)


def predict(task: Task, split: Any, outputs_WL2: np.ndarray) -> tuple[dict[str, str], dict[str, float]]:
    """Predicts answers by question id; metrics are in percent, as in SQuAD's script."""
    from research.data.finetuning.span_decoding import best_answers, null_scores

    best = {name: found[0] for name, found in best_answers(split, outputs_WL2, task).items()}
    if task.unanswerable:
        nulls = null_scores(split, outputs_WL2)
        spans = {name: Prediction(one.text, nulls[name] - one.score) for name, one in best.items()}
        answers = {name: final_text(one, task.null_threshold) for name, one in spans.items()}
        asked = zip(split.questions, split.known, strict=True)
        wanted = {question.name: question.answers for question, known in asked if known}
        if not wanted:
            return answers, {}
        measured = measure(wanted, spans, task.null_threshold)
        return answers, {metric: measured[metric] for metric in task.metrics}
    answers = {name: one.text for name, one in best.items()}
    known = {question.name: question.answers for question in split.questions if question.answers}
    if not known:
        return answers, dict.fromkeys(task.metrics, math.nan)
    found = score(known, answers)
    return answers, {metric: found[metric] for metric in task.metrics}


SPANS = OBJECTIVES.register("spans")(
    Objective(
        **task_losses(each_token_without_dropout, span_loss),
        check=check,
        batch_shapes=batch_shapes,
        synthetic=partial(synthetic_task, classes=lambda experiment: experiment.data.length),
        examples=examples,
        predicted=predicts_tokens,
        columns=("accuracy", "f1", "exact_match"),
        head="tokens",
        outputs=lambda task: 2,
        metrics=("f1", "exact_match", *SQUAD2),
        predict=predict,
    )
)
