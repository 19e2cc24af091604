"""Applies changed settings to an experiment, and the settings that its data and weights decide."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from research import weights
from research.config import Experiment
from research.config.settings import flatten, override, typed
from research.config.values import format_value
from research.data.sources.schemes import pinned
from research.data.tokenizers import published
from research.data.tokenizers.for_task import START, as_tokenizer
from research.errors import UsageError
from research.io.files import expanded
from research.io.hub import PREFIX
from research.runs.status import split_step
from research.training.resolving import from_weights
from research.training.resolving.from_data import from_data, report_epochs, report_f1, report_fields
from research.training.resolving.names import (
    BLOCK,
    DECISIVE,
    LORA,
    SOURCES,
    TOKENIZER,
    VOCABULARY,
    WEIGHTS,
    Settings,
)


def resolve(
    declared: Experiment,
    changes: Mapping[str, Any],
    report: Callable[[str], None],
    kept: Experiment | None = None,
) -> Experiment:
    """Applies `changes` to `declared`, then the settings that data and weights decide, which it reports.

    For a typed source, see `research.data.own_text` and `research.data.finetuning.own_labels`; a typed source
    or tokenizer also decides the vocabulary size. Weights decide the fields of
    `research.weights.architecture` and the tokenizer. `kept` is the experiment of a run to continue: it
    records what its weights decided, in case they are gone. Weights that do not exist decide nothing here;
    training refuses them. Raises UsageError for a change that conflicts with the weights, and for a missing
    text of the run to continue.
    """
    changes = {name: typed(declared, name, value) for name, value in changes.items()}
    path = changes.get(WEIGHTS, declared.start.weights)
    adapter = path is not None and _is_adapter(path, kept)
    block = {BLOCK: LORA} if adapter and BLOCK not in changes else {}
    declared, changes = _with_revisions(declared, block | changes, kept)
    changes = _with_data(declared, changes, report, required=kept is not None)
    if path is None:
        return override(declared, changes)
    return _with_weights(path, declared, changes, report, kept, block, adapter)


def _with_data(
    declared: Experiment, changes: Settings, report: Callable[[str], None], required: bool
) -> Settings:
    """Adds the settings that typed data decide to `changes`."""
    followed, examples = from_data(declared, changes, required)
    if followed:
        before = flatten(override(declared, {n: v for n, v in changes.items() if n in followed}))
        decisive = " ".join(f"{name}={format_value(changes[name])}" for name in DECISIVE if name in changes)
        report(f"{decisive} decides {_listed(followed, before)}")
        changes = changes | followed
        if "task.labels" in followed:
            report_f1(declared, changes, report)
    report_fields(declared, changes, report)
    if examples:
        report_epochs(declared, changes, examples, report)
    return changes


def _with_weights(
    path: str,
    declared: Experiment,
    changes: Settings,
    report: Callable[[str], None],
    kept: Experiment | None,
    block: Settings,
    adapter: bool,
) -> Experiment:
    """`block` is what an `adapter` has decided already."""
    if kept is not None and _same(path, kept.start.weights):
        taken = from_weights.architecture(path, declared, changes, kept.model, adapter=adapter)
        if TOKENIZER not in changes and _is_of(path, kept.data.tokenizer):
            taken[TOKENIZER] = kept.data.tokenizer
        return override(declared, taken | changes)
    if not path.startswith(PREFIX) and not _folder(path).is_dir():
        return override(declared, changes)
    blocks = changes.get("start.blocks", declared.start.blocks)
    theirs = weights.model_of(path)
    taken = from_weights.architecture(path, declared, changes, theirs, blocks, adapter)
    taken |= from_weights.tokenizer(path, declared, changes, resized=VOCABULARY in taken)
    try:
        experiment = override(declared, taken | changes)
    except UsageError as error:
        raise UsageError(f"{error}, with the model of start.weights={path}") from None
    if taken := block | taken:
        report(f"start.weights={path} decides {_listed(taken, flatten(declared))}")
    if adapter and experiment.model.block == theirs.block and experiment.optimizer.freeze is None:
        head = "" if experiment.model.head == "pretraining" else "+!task_head"
        report(
            f"all parameters train; optimizer.freeze='!*/lora*{head}' trains the adapter only, as PEFT does"
        )
    return experiment


def _with_revisions(
    declared: Experiment, changes: Settings, kept: Experiment | None
) -> tuple[Experiment, Settings]:
    """Pins the revision of each source that has one, to that of the run to continue or else to the newest."""
    known = "" if kept is None else f"{kept.data.source} {kept.data.validation}"
    for name in SOURCES:
        text = flatten(override(declared, {n: v for n, v in changes.items() if n in SOURCES}))[name]
        if text is None:
            continue
        found = pinned(text, name, known)
        if name in changes:
            changes = changes | {name: found}
        elif found != text:
            declared = override(declared, {name: found})
    return declared, changes


def _listed(taken: Settings, before: Settings) -> str:
    return ", ".join(
        f"{name}={format_value(value)} (declared {format_value(before.get(name))})"
        for name, value in taken.items()
    )


def _is_adapter(path: str, kept: Experiment | None) -> bool:
    """Whether weights are an adapter of PEFT. Those of a run to continue may be gone by now.

    Training refuses other weights that are not there.
    """
    run = kept if kept is not None and _same(path, kept.start.weights) else None
    on_hub = path.startswith(PREFIX)
    if run is not None and (on_hub or not _folder(path).is_dir()):
        return run.model.block == LORA
    return (on_hub or _folder(path).is_dir()) and weights.is_adapter(path)


def _folder(path: str) -> Path:
    return split_step(str(expanded(path)))[0]


def _is_of(weights: str, tokenizer: str) -> bool:
    """Whether a run's `data.tokenizer`, perhaps an absolute path by now, is the one beside its weights."""
    if tokenizer == START or not published.is_path(tokenizer):
        return tokenizer in (START, as_tokenizer(weights))
    return _same(as_tokenizer(weights), tokenizer)


def _same(path: str, kept: str | None) -> bool:
    if kept is None or path.startswith(PREFIX):
        return path == kept
    return expanded(path).absolute() == expanded(kept).absolute()
