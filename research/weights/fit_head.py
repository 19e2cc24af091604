"""The head of fine-tuned weights in a model for a task."""

import warnings

from research.config import Model
from research.data.finetuning.labels import are_numbers, listed, spelling
from research.errors import LineageWarning
from research.weights.layout import Arrays, TaskHead, Weights

SHAPE = ("head", "outputs", "special_tokens", "head_bias")  # settings that decide a head


def fit_head(
    weights: Weights, config: Model, task_head: TaskHead | None
) -> tuple[Arrays, dict[str, tuple[int, ...]]]:
    """The arrays for a model `config` with this `task_head`, and the shapes of those of another head.

    A head is kept if the objective and the number of classes are the same. Outputs are put into the order of
    `task_head` by the names of their classes. Without names on one side, output n becomes output n; a head
    with other names is another task's. Both give a LineageWarning.
    """
    arrays, theirs = dict(weights.arrays), weights.task_head
    same = all(getattr(weights.config, name) == getattr(config, name) for name in SHAPE)
    if theirs is None or task_head is None:
        return (arrays, {}) if same else _without_head(arrays)
    if not same or theirs.objective != task_head.objective:
        return _without_head(arrays)
    if len(theirs.labels) != weights.config.outputs or theirs.labels == task_head.labels:
        return arrays, {}
    before, now = ([spelling(label) for label in head.labels] for head in (theirs, task_head))
    if len(set(before)) == len(before) and set(before) == set(now):
        order = [before.index(label) for label in now]
        heads = {name: array[..., order] for name, array in arrays.items() if name.startswith("task_head/")}
        return arrays | heads, {}
    labels = f"start.weights: its labels {listed(theirs.labels)}"
    if are_numbers(theirs.labels) or are_numbers(task_head.labels):
        _warn(f"{labels} become task.labels {listed(task_head.labels)}, in this order")
        return arrays, {}
    _warn(f"{labels} are not task.labels {listed(task_head.labels)}; its task head is left out")
    return _without_head(arrays)


def _warn(message: str) -> None:
    warnings.warn(message, LineageWarning, stacklevel=4)


def _without_head(arrays: Arrays) -> tuple[Arrays, dict[str, tuple[int, ...]]]:
    heads = [name for name in arrays if name.startswith("task_head/")]
    return arrays, {name: arrays.pop(name).shape for name in heads}
