"""What arrays the global batch of an experiment consists of."""

import numpy as np

from research.config import Experiment

Shapes = dict[str, tuple[tuple[int, ...], type]]  # name → (shape, type)


def batch_shapes(experiment: Experiment) -> Shapes:
    """Of the first step; `experiment.at(step)` gives those of another."""
    if experiment.labelled:
        return _labelled_shapes(experiment)
    B, L = experiment.data.batch, experiment.data.length
    tokens = {"tokens": ((B, L), np.int32)}
    if experiment.objective.name == "next_token":
        documents = {"documents": ((B, L), np.int32)} if experiment.data.attend == "document" else {}
        return tokens | {"targets": ((B, L), np.int32), "weights": ((B, L), np.float32)} | documents
    P = experiment.data.masking.predictions
    return tokens | {
        "segments": ((B, L), np.int32),
        "lengths": ((B,), np.int32),
        "positions": ((B, P), np.int32),
        "targets": ((B, P), np.int32),
        "weights": ((B, P), np.float32),
        "next_targets": ((B,), np.int32),
        "next_weights": ((B,), np.float32),
    }


def _labelled_shapes(experiment: Experiment) -> Shapes:
    B, S, L = experiment.data.batch, experiment.task.sequences, experiment.data.length
    kind = experiment.objective.name
    shapes = {"tokens": ((B, S, L), np.int32), "lengths": ((B, S), np.int32)}
    if experiment.model.family == "bert":
        shapes["segments"] = ((B, S, L), np.int32)
    elif experiment.objective.auxiliary:
        shapes["auxiliary_weights"] = ((B, S, L), np.float32)
    labels = {"spans": (B, 2), "tags": (B, L)}.get(kind, (B,))
    return shapes | {
        "labels": (labels, np.float32 if kind == "regression" else np.int32),
        "label_weights": ((B, L) if kind == "tags" else (B,), np.float32),
    }
