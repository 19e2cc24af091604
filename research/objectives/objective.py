"""The record of an objective: everything that other code needs to know about it.

Another package adds an objective with one record:

    from research.config.names import OBJECTIVES
    from research.objectives.next_token import NEXT_TOKEN

    OBJECTIVES.register("smoothed")(NEXT_TOKEN._replace(loss=smoothed_loss))
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from jax import Array

from research import config
from research.config import Experiment, Task
from research.config.names import OBJECTIVES
from research.config.sections import freezing
from research.data.examples import Examples
from research.errors import UsageError
from research.models import FAMILIES
from research.models.parameters import components
from research.models.parts.blocks import auxiliary_losses

Batch = dict[str, Array]
Sums = dict[str, Array]
Shapes = dict[str, tuple[tuple[int, ...], type]]  # name → (shape, type)
Rows = Callable[[int, int], np.ndarray]  # (count, length) → int32 tokens (count, length), random or a file's
Loss = Callable[[Any, Batch, Array | None, config.Objective], Sums]
Outputs = Callable[[Any, Batch, Array | None, config.Objective], tuple[Sums, Array]]
Predict = Callable[[Task, Any, np.ndarray], tuple[Any, dict[str, float]]]

DEFAULTS = config.Objective()  # settings of a loss called without settings


class Objective(NamedTuple):
    """One objective. Fields after `columns` have the defaults of pre-training."""

    # (model, batch, key, settings) → sums over targets; "loss" is minimised; a key turns dropout on.
    # A batch carries a weight for every target under a name that ends in "weights". The caller divides the
    # weights by their sum over the whole batch, so sums over parts of a batch add up exactly.
    loss: Loss
    check: Callable[[Experiment], None]  # raises UsageError for sections that do not fit the objective
    batch_shapes: Callable[[Experiment], Shapes]  # of the global batch
    synthetic: Callable[[Experiment, np.random.Generator, Rows], dict[str, np.ndarray]]  # a batch to measure
    examples: Callable[[Experiment], Examples]  # imports data packages when called
    predicted: Callable[[Experiment], float]  # share of positions for which logits are computed
    columns: tuple[str, ...]  # numbers of a validation row shown beside the loss
    generates: bool = False  # the model generates text: evaluations sample it
    # The loss covers all tokens of a text: evaluations report bits per byte, of its hard_loss if it has one
    per_byte: bool = False
    unit: str = "nats"  # of the loss
    reads_step: bool = False  # the loss also reads batch["step"], int32 (): the updates made before it
    # With objective.teacher, the loss also reads batch["teacher"]: a model as its first argument, frozen
    reads_teacher: bool = False
    head: Literal["pretraining", "sequence", "tokens"] = "pretraining"  # the model's
    outputs: Callable[[Task], int] = lambda task: 0  # number of the head's outputs
    metrics: tuple[str, ...] = ()  # allowed in task.metrics
    evaluate: Outputs | None = None  # as `loss`, plus the head's outputs of every row
    # (task, split, outputs of its rows) → predictions as JSON, task.metrics; none without labels
    predict: Predict | None = None
    # outputs of rows → float64 (rows, len(task.labels)): the probability of each class or choice
    probabilities: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def supervised(self) -> bool:
        """Whether the objective learns from labelled examples."""
        return self.predict is not None


def objective_of(settings: config.Objective) -> Objective:
    """The record of the declared objective."""
    return OBJECTIVES[settings.name]


def check(experiment: Experiment) -> None:
    """Raises UsageError if the sections of a declaration do not fit its objective, or each other."""
    objective_of(experiment.objective).check(experiment)
    check_teacher(experiment.objective)
    check_layers(experiment.optimizer, experiment.model)


def check_teacher(settings: config.Objective) -> None:
    """Raises UsageError for a teacher that the objective does not read."""
    if settings.teacher is not None and not objective_of(settings).reads_teacher:
        read = ", ".join(name for name in OBJECTIVES if OBJECTIVES[name].reads_teacher)
        raise UsageError(f"objective.teacher: objective.name={settings.name} reads none; expected {read}")
    if settings.teacher is not None and settings.hidden and objective_of(settings).supervised:
        raise UsageError(f"objective.hidden={settings.hidden}: only in pre-training; expected 0")


def check_layers(optimizer: config.Optimizer, model: config.Model) -> None:
    """Raises UsageError if `optimizer.freeze` or the layers' rates do not fit the model's parameters."""
    by_layer = optimizer.rate.layer_decay != 1
    if optimizer.freeze is None and not by_layer:
        return
    shapes = {component.name: component.shape for component in components(model)}
    if by_layer:
        freezing.check_stacked("optimizer.rate.layer_decay", shapes, model)
    if optimizer.freeze is not None:
        freezing.check(optimizer.freeze, shapes, model)


def training_loss(settings: config.Objective) -> Callable[[Any, Batch, Array | None], Sums]:
    """(model, batch, key) → sums, as declared; the loss with what the model's blocks add to it."""
    declared = objective_of(settings).loss

    def loss(model: Any, batch: Batch, key: Array | None = None) -> Sums:
        with auxiliary_losses.being([]) as added:
            sums = declared(model, batch, key, settings)
        if "loss" not in sums:
            named = ", ".join(sums) or "none"
            raise UsageError(f"objective.name={settings.name}: its loss has the sums {named}; expected loss")
        if not added:
            return sums
        # Means over the tokens of this part of a batch. Each kind of weights sums to 1 over the whole batch.
        kinds = weights_in(batch)
        added_loss = sum(added) * sum(batch[kind].sum() for kind in kinds) / len(kinds)
        return sums | {"loss": sums["loss"] + added_loss, "auxiliary_loss": added_loss}

    return loss


def evaluation_loss(settings: config.Objective) -> Callable[[Any, Batch], Sums]:
    """(model, batch) → sums; with a task also the `outputs` of every row, which are not summed."""
    objective = objective_of(settings)
    evaluate = objective.evaluate
    if evaluate is None:
        return lambda model, batch: objective.loss(model, batch, None, settings)

    def sums_and_outputs(model: Any, batch: Batch) -> Sums:
        sums, outputs = evaluate(model, batch, None, settings)
        return sums | {"outputs": outputs}

    return sums_and_outputs


def weights_in(batch: Mapping[str, Any]) -> list[str]:
    """The names of a batch's weights, one array per kind of target."""
    return [name for name in batch if name.endswith("weights")]


def bidirectional(model: config.Model) -> bool:
    """Whether a position of this model attends to later positions."""
    return FAMILIES[model.family].bidirectional


def check_pretraining(experiment: Experiment, both_ways: bool) -> None:
    """Raises UsageError unless the family's direction is `both_ways`, and for settings of fine-tuning."""
    name, model = experiment.objective.name, experiment.model
    if both_ways:
        refuse_attention_in_documents(experiment.data)
    refuse_gpts_settings(model)
    if bidirectional(model) != both_ways:
        fitting = " or ".join(family for family in FAMILIES if FAMILIES[family].bidirectional == both_ways)
        raise UsageError(f"objective.name={name}: not for model.family={model.family}; expected {fitting}")
    if model.head != "pretraining":
        raise UsageError(f"model.head={model.head}: objective.name={name} needs pretraining")


def refuse_gpts_settings(model: config.Model) -> None:
    """Raises UsageError for GPT settings in a model of another family."""
    for name, usual in (("table_dropout", "false"), ("head_bias", "false"), ("special_tokens", "true")):
        value = str(getattr(model, name)).lower()
        if value != usual and bidirectional(model):
            raise UsageError(
                f"model.{name}={value}: for GPTs; expected {usual} with model.family={model.family}"
            )


def refuse_attention_in_documents(data: config.Data) -> None:
    """Raises UsageError for data.attend=document, which the objective's batches do not support."""
    if data.attend == "document":
        raise UsageError("data.attend=document: only for objective.name=next_token; expected window")


def halves(rows: int, length: int) -> np.ndarray:
    """Synthetic segments or documents: 0 in the first half of every row, 1 in the second."""
    return np.tile((np.arange(length) >= length // 2).astype(np.int32), (rows, 1))
