"""BERT's pairs of segments, read left to right without masks (Devlin et al., 2018, section 5.1).

This is "LTR & No NSP" of the paper's table 5: GPT-1's objective with BERT's inputs, heads and fine-tuning. It
needs `model.left_only`.
"""

import numpy as np
from jax import Array

from research import config
from research.config import Experiment
from research.config.names import OBJECTIVES
from research.data.examples import Examples
from research.errors import UsageError
from research.objectives import next_token
from research.objectives.masked_token import MASKED_TOKEN
from research.objectives.objective import DEFAULTS, Batch, Rows, Shapes, Sums, check_pretraining, halves
from research.objectives.vocabulary_loss import targets_loss


def loss(model, batch: Batch, key: Array | None = None, settings: config.Objective = DEFAULTS) -> Sums:
    """Cross-entropy (nats) of each token given those before it, with the masked-token head."""
    x_BLD = model.masked(model.features(batch["tokens"], batch["segments"], batch["lengths"], key))
    total, correct = targets_loss(model, x_BLD, model.masked.bias[...], batch, settings.z_loss)
    return {"loss": total, "accuracy": correct}


def batch_shapes(experiment: Experiment) -> Shapes:
    """Those of `next_token`, with segments and lengths; weights are 0 from the row's last token on."""
    B, L = experiment.data.batch, experiment.data.length
    return next_token.batch_shapes(experiment) | {"segments": ((B, L), np.int32), "lengths": ((B,), np.int32)}


def synthetic(experiment: Experiment, random: np.random.Generator, rows: Rows) -> dict[str, np.ndarray]:
    B, L = experiment.data.batch, experiment.data.length
    added = {"segments": halves(B, L), "lengths": np.full(B, L, np.int32)}
    return next_token.synthetic(experiment, random, rows) | added


def check(experiment: Experiment) -> None:
    check_pretraining(experiment, both_ways=True)
    if not experiment.model.left_only:
        raise UsageError(
            "objective.name=left_to_right: a token must not see those after it; expected model.left_only=true"
        )


def examples(experiment: Experiment) -> Examples:
    from research.data.pretraining import masked_lm

    return masked_lm.examples(experiment.data, experiment.model.vocabulary, masked=False)


LEFT_TO_RIGHT = OBJECTIVES.register("left_to_right")(
    MASKED_TOKEN._replace(
        loss=loss,
        check=check,
        batch_shapes=batch_shapes,
        synthetic=synthetic,
        examples=examples,
        predicted=lambda experiment: 1.0,
        columns=("accuracy",),
        reads_teacher=False,
    )
)
