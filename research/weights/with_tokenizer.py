"""Loads a model together with its tokenizer."""

from research import weights
from research.data.tokenizers import published
from research.data.tokenizers.tokenizer import entries
from research.errors import UsageError
from research.weights import Loaded


def load_with_tokenizer(target: str, tokenizer: str | None = None, required: bool = True) -> Loaded:
    """Loads a run (DIR or DIR:STEP) or weights, with the tokenizer beside them or the given one.

    The tokenizer neither truncates nor pads. Raises UsageError if parameters of a GPT are missing, if a
    `required` tokenizer is missing, or if it has more entries than the model.
    """
    loaded = weights.load(target)
    if loaded.report.missing and not loaded.model.bidirectional:
        raise UsageError(f"{target}: has no {next(iter(loaded.report.missing))}")
    found = published.load(tokenizer) if tokenizer else loaded.tokenizer
    if found is None and not required:
        return loaded
    if found is None:
        raise UsageError(f"{target}: no tokenizer beside the weights; pass --tokenizer NAME|PATH")
    if entries(found) > loaded.config.vocabulary:
        raise UsageError(
            f"{target}: has {loaded.config.vocabulary} tokens, the tokenizer {entries(found)}: not its own"
        )
    found.no_truncation()
    found.no_padding()
    return loaded._replace(tokenizer=found)
