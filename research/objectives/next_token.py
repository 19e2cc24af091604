"""Causal language modelling: each token given those before it (Radford et al., 2018, section 3.1)."""

import numpy as np
from jax import Array

from research import config
from research.config import Experiment
from research.config.names import OBJECTIVES
from research.data.examples import Examples
from research.models.parts.table_dropout import drop_tables
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
    """Cross-entropy (nats) of each token given those before it; with a teacher, mixed with the divergence.

    With `documents` in a batch, only tokens of the same document are given.
    """
    model = drop_tables(model, key)
    x_BLD = _states(model, batch, key)
    total, correct = targets_loss(model, x_BLD, None, batch, settings.z_loss)
    if (teacher := teacher_in(batch)) is None:
        return {"loss": total, "accuracy": correct}
    y_BLD = taught(_states, teacher, batch)
    both = (model, x_BLD, x_BLD), (teacher, y_BLD, y_BLD)
    return mixed_over_vocabulary(total, *both, batch["weights"], settings) | {"accuracy": correct}


def _states(model, batch: Batch, key: Array | None) -> Array:
    return model.features(batch["tokens"], key, batch.get("documents"))


def batch_shapes(experiment: Experiment) -> Shapes:
    """`targets` are the tokens shifted by one; `documents` number the documents of a row."""
    shape = experiment.data.batch, experiment.data.length
    shapes = {"tokens": (shape, np.int32), "targets": (shape, np.int32), "weights": (shape, np.float32)}
    return shapes | ({"documents": (shape, np.int32)} if experiment.data.attend == "document" else {})


def synthetic(experiment: Experiment, random: np.random.Generator, rows: Rows) -> dict[str, np.ndarray]:
    B, L = experiment.data.batch, experiment.data.length
    tokens = rows(B, L + 1)
    batch = {"tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": np.ones((B, L), np.float32)}
    return batch | ({"documents": halves(B, L)} if experiment.data.attend == "document" else {})


def examples(experiment: Experiment) -> Examples:
    from research.data.pretraining import causal_lm

    return causal_lm.examples(experiment.data, experiment.model.vocabulary)


NEXT_TOKEN = OBJECTIVES.register("next_token")(
    Objective(
        loss=loss,
        check=lambda experiment: check_pretraining(experiment, both_ways=False),
        batch_shapes=batch_shapes,
        synthetic=synthetic,
        examples=examples,
        predicted=lambda experiment: 1.0,
        columns=("accuracy", "bits_per_byte"),
        reads_teacher=True,
        generates=True,
        per_byte=True,
    )
)
