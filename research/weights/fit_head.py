"""The head of fine-tuned weights in a model for a task."""

import warnings

from research.config import Model
from research.errors import LineageWarning
from research.weights.layout import Arrays, TaskHead, Weights

SHAPE = ("head", "outputs", "special_tokens", "head_bias")  # settings that decide a head


def fit_head(
    weights: Weights, config: Model, task_head: TaskHead | None
) -> tuple[Arrays, dict[str, tuple[int, ...]]]:
    """The arrays for a model `config` with this `task_head`, and the shapes of those of another head.

    A head is kept if the objective and the number of labels are the same. If the names are the same too, its
    outputs are put into their order; else label n becomes label n, with a LineageWarning.
    """
    arrays, theirs = dict(weights.arrays), weights.task_head
    same = all(getattr(weights.config, name) == getattr(config, name) for name in SHAPE)
    if theirs is None or task_head is None:
        return (arrays, {}) if same else _without_head(arrays)
    if not same or theirs.objective != task_head.objective:
        return _without_head(arrays)
    if len(theirs.labels) != weights.config.outputs or theirs.labels == task_head.labels:
        return arrays, {}
    if set(theirs.labels) == set(task_head.labels):
        order = [theirs.labels.index(label) for label in task_head.labels]
        heads = {name: array[..., order] for name, array in arrays.items() if name.startswith("task_head/")}
        return arrays | heads, {}
    before, now = (", ".join(labels[:6]) for labels in (theirs.labels, task_head.labels))
    warnings.warn(
        f"start.weights: its labels {before} become task.labels {now}, in this order",
        LineageWarning,
        stacklevel=3,
    )
    return arrays, {}


def _without_head(arrays: Arrays) -> tuple[Arrays, dict[str, tuple[int, ...]]]:
    heads = [name for name in arrays if name.startswith("task_head/")]
    return arrays, {name: arrays.pop(name).shape for name in heads}
