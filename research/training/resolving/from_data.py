"""Settings that a typed source or tokenizer decides: columns, labels, split, vocabulary size."""

from collections.abc import Callable
from dataclasses import replace

from research.config import Data, Experiment, Task
from research.config.settings import flatten, override
from research.config.values import format_value
from research.data.finetuning.own_labels import label_settings
from research.data.own_text import short_text_tokenizer, text_settings, vocabulary
from research.errors import UsageError
from research.objectives import objective_of
from research.objectives.objective import bidirectional
from research.training.resolving.names import (
    DECISIVE,
    SOURCE,
    TOKENIZER,
    VALIDATION,
    VOCABULARY,
    WEIGHTS,
    Settings,
)

COUNTED = ("run.steps", "data.batch", "optimizer.rate.warmup")
EPOCHS, TOO_MANY = 3, 20  # of fine-tuning: as in the papers; more than TOO_MANY times as many are reported

LABELLED = {  # objectives whose examples decide columns and labels
    "classification": {"classes": True, "tags": False},
    "regression": {"classes": False, "tags": False},
    "tags": {"classes": True, "tags": True},
}


def from_data(declared: Experiment, changes: Settings, required: bool) -> tuple[Settings, int]:
    """Settings that a typed source or tokenizer changes; and the number of labelled examples, else 0.

    A text that cannot be read decides nothing, unless it is `required`.
    """
    if not any(name in changes for name in (*DECISIVE, VALIDATION)):
        return {}, 0
    needed = ("data.", "task.", "objective.")
    seen = override(
        declared, {n: v for n, v in changes.items() if n.startswith(needed) and n != "data.length"}
    )
    objective, data, source = objective_of(seen.objective), seen.data, SOURCE in changes
    followed: Settings = {}
    examples = 0
    if not objective.supervised and data.validation is not None:
        _refuse_two_validations(changes, data)
    if source and not objective.supervised:
        pairs = bidirectional(declared.model)
        followed = text_settings(data, changes, in_pairs=pairs, required=required)
    elif source and seen.objective.name in LABELLED:
        followed, examples = label_settings(data, seen.task, changes, **LABELLED[seen.objective.name])
    if "task.labels" in followed and "model.outputs" not in changes:
        followed["model.outputs"] = objective.outputs(override(seen, followed).task)
    if changes.get(WEIGHTS, declared.start.weights) is None:
        data = override(seen, {n: v for n, v in followed.items() if n.startswith("data.")}).data
        if source and not objective.supervised and TOKENIZER not in changes:
            followed[TOKENIZER] = short_text_tokenizer(data)
            data = replace(data, tokenizer=followed[TOKENIZER])
        task = override(seen, followed).task if objective.supervised else None
        if VOCABULARY in changes and TOKENIZER in changes:
            _refuse_smaller_vocabulary(changes[VOCABULARY], data, task)
        other = data.tokenizer != declared.data.tokenizer or data.tokenizer == "char"
        if VOCABULARY not in changes and other:
            followed[VOCABULARY] = vocabulary(data, task)
    before = flatten(seen)
    return {n: v for n, v in followed.items() if v is not None and before[n] != v}, examples


def report_epochs(
    declared: Experiment, changes: Settings, examples: int, report: Callable[[str], None]
) -> None:
    """Reports declared steps that do not suit the examples, or a warm-up that does not suit the steps."""
    experiment = override(declared, {n: v for n, v in changes.items() if n in COUNTED})
    steps, batch, warmup = experiment.run.steps, experiment.data.batch, experiment.optimizer.rate.warmup
    epochs = steps * batch / examples
    few = max(1, round(EPOCHS * examples / batch))
    if "run.steps" not in changes and epochs > TOO_MANY * EPOCHS:
        report(
            f"run.steps={steps} makes {epochs:,.0f} epochs of {examples:,} examples; "
            f"run.steps={few} optimizer.rate.warmup={few // 10} would be {EPOCHS}"
        )
    elif "optimizer.rate.warmup" not in changes and warmup >= steps:
        report(
            f"optimizer.rate.warmup={warmup}: the rate does not reach its peak in run.steps={steps}; "
            f"optimizer.rate.warmup={steps // 10} would be a tenth of them"
        )


def report_fields(declared: Experiment, changes: Settings, report: Callable[[str], None]) -> None:
    """Reports a number of task.fields unlike the declared one, such as one text instead of a pair."""
    fields, kinds = changes.get("task.fields", declared.task.fields), {1: "one text", 2: "a pair of texts"}
    if declared.objective.name in LABELLED and len(fields) != len(declared.task.fields):
        given, wanted = (kinds.get(len(one), f"{len(one)} texts") for one in (fields, declared.task.fields))
        report(
            f"task.fields={format_value(fields)}: an example is {given}; "
            f"declared is {wanted}, {format_value(declared.task.fields)}"
        )


def report_f1(declared: Experiment, changes: Settings, report: Callable[[str], None]) -> None:
    """Reports which of two classes the F1 is of, since the data decided their order."""
    task = override(declared, {n: v for n, v in changes.items() if n.startswith("task.")}).task
    if len(task.labels) == 2 and "f1" in task.metrics:
        first, second = task.labels
        report(f"f1 is that of {second}; with task.labels={second},{first} it is that of {first}")


def _refuse_smaller_vocabulary(typed: int, data: Data, task: Task | None) -> None:
    """Raises UsageError for a typed vocabulary smaller than the typed tokenizer."""
    entries = vocabulary(data, task)
    if entries is not None and entries > typed:
        raise UsageError(
            f"{VOCABULARY}={typed}: data.tokenizer={data.tokenizer} has {entries} entries; expected at least "
            f"that, or no {VOCABULARY}, which then follows the tokenizer"
        )


def _refuse_two_validations(changes: Settings, data: Data) -> None:
    """Raises UsageError for typed settings of a split beside `data.validation`."""
    for name in ("data.split", "data.holdout"):
        if name in changes:
            raise UsageError(
                f"{name}={format_value(changes[name])}: data.source is not split when "
                f"data.validation={data.validation} validates; expected one of the two"
            )
