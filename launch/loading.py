"""A model and its tokenizer, from what was typed."""

from pathlib import Path
from typing import NamedTuple

from research.errors import UsageError


class Judged(NamedTuple):
    """What is evaluated or writes."""

    model: object
    config: object
    tokenizer: object


def load(target: str, tokenizer: str | None) -> Judged:
    """Of a run (DIR, or DIR:STEP), imported or Hugging Face weights.

    Raises UsageError where there is no tokenizer beside the weights and none is named, or one with more
    entries than the model.
    """
    from research import weights
    from research.data.tokenizers import published
    from research.data.tokenizers.tokenizer import entries
    from research.devices.startup import use_compilation_cache

    use_compilation_cache()
    loaded = weights.load(target)
    if loaded.report.missing and loaded.config.family != "bert":
        raise UsageError(f"{target}: has no {next(iter(loaded.report.missing))}")
    found = published.load(tokenizer) if tokenizer else loaded.tokenizer
    if found is None:
        raise UsageError(f"{Path(target)}: no tokenizer beside the weights; name one: --tokenizer NAME|PATH")
    if entries(found) > loaded.config.vocabulary:
        raise UsageError(
            f"{target}: has {loaded.config.vocabulary} tokens, the tokenizer {entries(found)}: not its own"
        )
    found.no_truncation()
    found.no_padding()
    return Judged(loaded.model, loaded.config, found)
