"""Settings that weights decide: their architecture and the tokenizer beside them."""

from dataclasses import replace

from research.config import Experiment, Model
from research.config.settings import flatten, override
from research.config.values import format_value
from research.data.tokenizers import published, trained
from research.data.tokenizers.for_task import START, as_tokenizer, beside
from research.errors import EnvironmentFault, UsageError
from research.io import hub
from research.objectives import objective_of
from research.training.resolving.names import TOKENIZER, Settings
from research.weights.architecture import DROPOUT, choose_blocks, others


def architecture(
    path: str,
    declared: Experiment,
    changes: Settings,
    theirs: Model,
    blocks: tuple[int, ...] = (),
    adapter: bool = False,
) -> Settings:
    """The weights' values of settings not in `changes`. Raises UsageError for a conflict with `changes`.

    The dropout of an `adapter` is taken over, too.
    """
    block = {name: changes[name] for name in changes if name.startswith(("model.block", "model.own.block."))}
    try:
        theirs = choose_blocks(theirs, blocks)
        wrong = others(theirs, changes)
        different = others(theirs, flatten(override(declared, block)) | changes)
    except UsageError as error:
        raise UsageError(f"start.weights={path}: {error}") from None
    if wrong:
        given = " ".join(f"{name}={format_value(changes[name])}" for name in wrong if name in changes)
        expected = " ".join(f"{name}={format_value(value)}" for name, value in wrong.items())
        raise UsageError(
            f"{given}: start.weights={path} differ; expected {expected}, or leave these settings out"
        )
    if adapter and changes.get("model.block") == theirs.block and DROPOUT not in changes:
        different |= {DROPOUT: theirs.own.block.dropout}
    return different | _head(declared, changes, theirs)


def _head(declared: Experiment, changes: Settings, theirs: Model) -> Settings:
    """The settings of a GPT's head, if the weights have one of the declared kind; else it would be lost."""
    head = changes.get("model.head", declared.model.head)
    if theirs.head == "pretraining" or theirs.head != head:
        return {}
    return {
        f"model.{name}": getattr(theirs, name)
        for name in ("special_tokens", "head_bias")
        if f"model.{name}" not in changes and getattr(theirs, name) != getattr(declared.model, name)
    }


def tokenizer(path: str, declared: Experiment, changes: Settings, resized: bool) -> Settings:
    """The setting that names the tokenizer beside the weights, if it differs from the declared one.

    A tokenizer trained on the data is compared only by its size: `resized` says that the weights have another
    number of entries.
    """
    name = declared.data.tokenizer
    if TOKENIZER in changes or name == START:
        return {}
    theirs = beside(hub.located(path, hub.TOKENIZER))
    if theirs is None:
        if resized:
            raise UsageError(
                f"start.weights={path}: has another vocabulary than data.tokenizer={name}, and no tokenizer "
                "of its own; expected data.tokenizer=NAME|PATH, the one that it was trained with"
            )
        return {}
    if not resized and (_is_trained(name) or _vocabulary(name) == theirs.get_vocab()):
        return {}
    objective = replace(declared.objective, name=changes.get("objective.name", declared.objective.name))
    return {TOKENIZER: START if objective_of(objective).supervised else as_tokenizer(path)}


def _is_trained(name: str) -> bool:
    return name.partition(":")[0] in trained.SCHEMES


def _vocabulary(name: str) -> dict[str, int] | None:
    """The vocabulary of a published tokenizer; None if it is unavailable, for example without a network."""
    try:
        return published.load(name).get_vocab()
    except (UsageError, EnvironmentFault):
        return None
