"""Objectives by name. Each file registers one record, or those of one kind, when it is imported."""

from research.objectives import (
    classification,
    left_to_right,
    masked_token,
    next_token,
    question_answering,
    soft_scores,
    token_classification,
)
from research.objectives.objective import (
    Objective,
    check,
    check_batch,
    evaluation_loss,
    objective_of,
    training_loss,
    weights_in,
)

__all__ = [
    "Objective",
    "check",
    "check_batch",
    "classification",
    "evaluation_loss",
    "left_to_right",
    "masked_token",
    "next_token",
    "objective_of",
    "question_answering",
    "soft_scores",
    "token_classification",
    "training_loss",
    "weights_in",
]
