"""An experiment takes what its data and its weights decide, unless it was typed."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from research import weights
from research.config import Data, Experiment, Model
from research.config.settings import flatten, format_value, override, typed
from research.data.finetuning.own_labels import label_settings
from research.data.own_text import text_settings, vocabulary
from research.data.sources.revisions import pinned
from research.data.tokenizers import published, trained
from research.data.tokenizers.for_task import START, as_tokenizer, beside
from research.errors import EnvironmentFault, UsageError
from research.io.hub import PREFIX, TOKENIZER, located
from research.objectives import objective_of
from research.objectives.objective import bidirectional
from research.runs.status import split_step
from research.weights.architecture import others

WEIGHTS, NAME, SOURCE = "start.weights", "data.tokenizer", "data.source"
SOURCES = (SOURCE, "data.validation")
VOCABULARY = "model.vocabulary"
DECISIVE = (SOURCE, NAME)  # settings that decide others once they are typed

COUNTED = ("run.steps", "data.batch", "optimizer.rate.warmup")
EPOCHS, TOO_MANY = 3, 20  # of fine-tuning: as papers have them; times as many are reported

LABELLED = {  # objectives whose examples decide columns and labels
    "classification": {"classes": True, "tags": False},
    "regression": {"classes": False, "tags": False},
    "tags": {"classes": True, "tags": True},
}

Settings = dict[str, Any]  # by dotted name


def with_start(
    declared: Experiment,
    changes: Mapping[str, Any],
    report: Callable[[str], None],
    kept: Experiment | None = None,
) -> Experiment:
    """`declared` with `changes`, and with what `data.source` and `start.weights` decide, which is reported.

    A typed source decides as `research.data.own_text` and `research.data.finetuning.own_labels` say; a typed
    source or tokenizer also the size of the vocabulary. Weights decide the fields of
    `research.weights.architecture` and the tokenizer. `kept` is the experiment of a run to be continued: it
    knows what its weights decided, though they may be gone. Weights that do not exist
    decide nothing here, and training refuses them. Raises UsageError for a change that the weights have
    otherwise.
    """
    changes = {name: typed(declared, name, value) for name, value in changes.items()}
    declared, changes = _with_revisions(declared, changes, kept)
    followed, examples = _from_data(declared, changes)
    if followed:
        before = flatten(override(declared, {n: v for n, v in changes.items() if n in followed}))
        decisive = " ".join(f"{name}={format_value(changes[name])}" for name in DECISIVE if name in changes)
        report(f"{decisive} decides {_listed(followed, before)}")
        changes |= followed
    if examples:
        _report_epochs(declared, changes, examples, report)
    path = changes.get(WEIGHTS, declared.start.weights)
    if path is None:
        return override(declared, changes)
    if kept is not None and _same(path, kept.start.weights):
        taken = _architecture(path, declared, changes, kept.model)
        if NAME not in changes and kept.data.tokenizer in (START, as_tokenizer(path)):
            taken[NAME] = kept.data.tokenizer
        return override(declared, taken | changes)
    if not path.startswith(PREFIX) and not _folder(path).is_dir():
        return override(declared, changes)
    taken = _architecture(path, declared, changes, weights.model_of(path))
    taken |= _tokenizer(path, declared, changes, resized="model.vocabulary" in taken)
    if not taken:
        return override(declared, changes)
    try:
        experiment = override(declared, taken | changes)
    except UsageError as error:
        raise UsageError(f"{error}, with the model of start.weights={path}") from None
    before = flatten(declared)
    report(f"start.weights={path} decides {_listed(taken, before)}")
    return experiment


def _with_revisions(
    declared: Experiment, changes: Settings, kept: Experiment | None
) -> tuple[Experiment, Settings]:
    """Both with the revision of each source that has one: that of the run to be continued, or today's."""
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


def _from_data(declared: Experiment, changes: Settings) -> tuple[Settings, int]:
    """Settings that a typed source or tokenizer decides, where they differ from the declared ones; and the
    number of labelled examples in the source, 0 of others.
    """
    if not any(name in changes for name in (*DECISIVE, "data.validation")):
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
        followed = text_settings(data, changes, in_pairs=bidirectional(declared.model))
    elif source and seen.objective.name in LABELLED:
        followed, examples = label_settings(data, seen.task, changes, **LABELLED[seen.objective.name])
    if "task.labels" in followed and "model.outputs" not in changes:
        followed["model.outputs"] = objective.outputs(override(seen, followed).task)
    if changes.get(WEIGHTS, declared.start.weights) is None:
        data = override(seen, {n: v for n, v in followed.items() if n.startswith("data.")}).data
        if VOCABULARY in changes and NAME in changes:
            _refuse_smaller_vocabulary(changes[VOCABULARY], data)
        other = data.tokenizer != declared.data.tokenizer or data.tokenizer == "char"
        if VOCABULARY not in changes and other:
            followed[VOCABULARY] = vocabulary(data)
    before = flatten(seen)
    return {n: v for n, v in followed.items() if v is not None and before[n] != v}, examples


def _report_epochs(
    declared: Experiment, changes: Settings, examples: int, report: Callable[[str], None]
) -> None:
    """Says it where declared steps do not suit the number of examples, or a declared warm-up typed steps."""
    experiment = override(declared, {n: v for n, v in changes.items() if n in COUNTED})
    steps, batch, warmup = experiment.run.steps, experiment.data.batch, experiment.optimizer.rate.warmup
    epochs = steps * batch / examples
    few = max(1, round(EPOCHS * examples / batch))
    if "run.steps" not in changes and epochs > TOO_MANY * EPOCHS:
        report(
            f"run.steps={steps} are {epochs:,.0f} epochs of {examples:,} examples; "
            f"run.steps={few} optimizer.rate.warmup={few // 10} would be {EPOCHS}"
        )
    elif "optimizer.rate.warmup" not in changes and warmup >= steps:
        report(
            f"optimizer.rate.warmup={warmup}: the rate does not reach its peak in run.steps={steps}; "
            f"optimizer.rate.warmup={steps // 10} would be a tenth of them"
        )


def _refuse_smaller_vocabulary(typed: int, data: Data) -> None:
    """Raises UsageError for a typed vocabulary that the typed tokenizer does not fit into."""
    entries = vocabulary(data)
    if entries is not None and entries > typed:
        raise UsageError(
            f"{VOCABULARY}={typed}: data.tokenizer={data.tokenizer} has {entries} entries; expected as many "
            f"or more, or no {VOCABULARY}, which follows"
        )


def _refuse_two_validations(changes: Settings, data: Data) -> None:
    """Raises UsageError for typed settings of a split where a corpus of its own validates."""
    for name in ("data.split", "data.holdout"):
        if name in changes:
            raise UsageError(
                f"{name}={format_value(changes[name])}: data.source is not split where "
                f"data.validation={data.validation} validates; expected one of the two"
            )


def _listed(taken: Settings, before: Settings) -> str:
    return ", ".join(
        f"{name}={format_value(value)} (declared {format_value(before[name])})"
        for name, value in taken.items()
    )


def _architecture(path: str, declared: Experiment, changes: Settings, theirs: Model) -> Settings:
    """Their values of the settings that are not among `changes`. Raises UsageError for others there."""
    try:
        wrong = others(theirs, changes)
        different = others(theirs, flatten(declared) | changes)
    except UsageError as error:
        raise UsageError(f"start.weights={path}: {error}") from None
    if wrong:
        given = " ".join(f"{name}={format_value(changes[name])}" for name in wrong)
        expected = " ".join(f"{name}={format_value(value)}" for name, value in wrong.items())
        raise UsageError(
            f"{given}: not as start.weights={path} were made; expected {expected}, or none of it"
        )
    return different


def _tokenizer(path: str, declared: Experiment, changes: Settings, resized: bool) -> Settings:
    """The setting that names the tokenizer beside the weights, where the declared one is another.

    A tokenizer that is trained on the data is compared by its size alone: `resized` says that the weights
    have another number of entries.
    """
    name = declared.data.tokenizer
    if NAME in changes or name == START:
        return {}
    theirs = beside(located(path, TOKENIZER))
    if theirs is None:
        if resized:
            raise UsageError(
                f"start.weights={path}: of another vocabulary than data.tokenizer={name}, and no tokenizer "
                "beside them; expected data.tokenizer=NAME|PATH, the one that they were trained with"
            )
        return {}
    if not resized and (_is_trained(name) or _vocabulary(name) == theirs.get_vocab()):
        return {}
    objective = replace(declared.objective, name=changes.get("objective.name", declared.objective.name))
    return {NAME: START if objective_of(objective).supervised else as_tokenizer(path)}


def _is_trained(name: str) -> bool:
    return name.partition(":")[0] in trained.SCHEMES


def _vocabulary(name: str) -> dict[str, int] | None:
    """That of a published tokenizer; None where it is not to be had, as without a network."""
    try:
        return published.load(name).get_vocab()
    except (UsageError, EnvironmentFault):
        return None


def _folder(path: str) -> Path:
    return split_step(str(Path(path).expanduser()))[0]


def _same(path: str, kept: str | None) -> bool:
    if kept is None or path.startswith(PREFIX):
        return path == kept
    return Path(path).expanduser().absolute() == Path(kept).expanduser().absolute()
