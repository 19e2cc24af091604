"""The tokenizer of labelled examples: that of the weights which a run starts from."""

from pathlib import Path

from tokenizers import Tokenizer

from research.config import Experiment
from research.data.tokenizers import published
from research.data.tokenizers.tokenizer import entries, load
from research.errors import UsageError
from research.io.hub import located

START = "start"  # data.tokenizer: the one beside start.weights


def tokenizer_of(experiment: Experiment) -> Tokenizer:
    """The one that `data.tokenizer` names, which is the one that `start.weights` were trained with.

    Raises UsageError where it is not, or has more entries than the model.
    """
    data, weights = experiment.data, experiment.start.weights
    theirs = None if weights is None else beside(located(weights))
    if data.tokenizer == START:
        if weights is None:
            raise UsageError(
                "data.tokenizer=start: it is the one beside start.weights, of which there are none; "
                "set them, or another tokenizer"
            )
        if theirs is None:
            raise UsageError(f"start.weights={weights}: no tokenizer beside them; set data.tokenizer")
        tokenizer = theirs
    else:
        tokenizer = load(data)
        if theirs is not None and theirs.get_vocab() != tokenizer.get_vocab():
            raise UsageError(
                f"data.tokenizer={data.tokenizer}: not the vocabulary that start.weights={weights} were "
                "trained with; expected data.tokenizer=start"
            )
    size, limit = entries(tokenizer), experiment.model.vocabulary
    if size > limit and data.tokenizer != START:  # the weights' own sizes tell all that is to be changed
        raise UsageError(f"model.vocabulary={limit}: the tokenizer {data.tokenizer} has {size} entries")
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.encode_special_tokens = True  # in a text, the spelling of a special token is but text
    return tokenizer


def beside(weights: Path) -> Tokenizer | None:
    """The tokenizer in the folder of weights, which may be a run's with the number of a step, DIR:STEP."""
    if not weights.is_dir() and weights.name.rpartition(":")[2].isdecimal():
        weights = weights.with_name(weights.name.rpartition(":")[0])
    if not weights.is_dir():
        raise UsageError(f"start.weights={weights}: no such directory")
    if not any(all((weights / f).exists() for f in files.split(" and ")) for files in published.FILES):
        return None
    tokenizer = published.read(weights)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
