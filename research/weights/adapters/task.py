"""The head of a task in an adapter: PEFT saves it whole, and its labels are the base's, if any."""

from dataclasses import replace
from pathlib import Path

from research.config import Model
from research.errors import UsageError
from research.io.hub import ADAPTER
from research.weights.adapters.settings import Declared
from research.weights.formats.huggingface_config import DIALECTS
from research.weights.formats.huggingface_head import NAMES, Head, outputs_of
from research.weights.layout import Arrays, Row, TaskHead

TASKS = {  # PEFT's task_type of our objectives
    "classification": "SEQ_CLS",
    "regression": "SEQ_CLS",
    "tags": "TOKEN_CLS",
    "spans": "QUESTION_ANS",
}


def rows(family: str, replaced: Arrays) -> tuple[Row, ...]:
    """The table of the head that an adapter has, if any."""
    for head in DIALECTS[family].heads.values():
        if f"{head.name}.weight" in replaced and (not head.bias or f"{head.name}.bias" in replaced):
            return head.rows
    return ()


def with_head(
    folder: Path, base: Model, base_head: TaskHead | None, declared: Declared, replaced: Arrays
) -> tuple[Model, TaskHead | None]:
    """The base model with the adapter's head, and its meaning. Raises UsageError for an unknown task."""
    names = [name for name in replaced if name.startswith(NAMES) and name.endswith(".weight")]
    if not names:
        return base, base_head
    outputs, heads = len(replaced[names[0]]), DIALECTS[base.family].heads
    objective = _objective(declared, heads, names[0].removesuffix(".weight"), outputs, base_head)
    if objective is None:
        raise UsageError(
            f"{folder / ADAPTER}: task_type={declared.task}: does not tell the task of {names[0]}; expected "
            + ", ".join(sorted({*TASKS.values()}))
        )
    labels: tuple[str, ...] = ()
    if objective in ("classification", "tags"):
        labels = tuple(f"LABEL_{n}" for n in range(outputs))  # PEFT keeps no names of classes
        if base_head is not None and base_head.objective == objective and len(base_head.labels) == outputs:
            labels = base_head.labels
    task_head, head = TaskHead(objective, labels), heads[objective]
    if outputs != (expected := outputs_of(task_head)):
        raise UsageError(f"{folder}: {names[0]} has {outputs} outputs, expected {expected} for {objective}")
    changes = {"head": head.shape, "outputs": outputs, "tied": True} | head.settings(base.family)
    return replace(base, **changes), task_head


def _objective(
    declared: Declared, heads: dict[str, Head], layer: str, outputs: int, base_head: TaskHead | None
) -> str | None:
    found = [
        objective
        for objective, head in heads.items()
        if head.name == layer and declared.architecture in (None, head.architecture)
    ]
    if declared.task is not None:
        found = [objective for objective in found if TASKS.get(objective) == declared.task]
    elif declared.architecture is None:
        found = [objective for objective in found if base_head and base_head.objective == objective]
    if "regression" in found and "classification" in found:
        return "regression" if outputs == 1 else "classification"
    return found[0] if len(found) == 1 else None
