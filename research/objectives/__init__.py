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
    evaluation_loss,
    objective_of,
    training_loss,
    weights_in,
)

__all__ = [
    "Objective",
    "check",
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
