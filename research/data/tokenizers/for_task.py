"""The tokenizer of the weights from which a run starts."""

from pathlib import Path

from tokenizers import Tokenizer

from research.config import Data, Start
from research.data.tokenizers import published, spacy_words
from research.data.tokenizers.tokenizer import entries, load
from research.errors import UsageError
from research.io.files import expanded
from research.io.hub import PREFIX, located

START = "start"  # data.tokenizer: the one beside start.weights


def tokenizer_of(data: Data, start: Start, limit: int) -> Tokenizer:
    """The tokenizer `data.tokenizer`, which must be the one that `start.weights` were trained with.

    Raises UsageError if it is not, or if it has more entries than `limit`, the model's vocabulary.
    """
    weights = start.weights
    words, name = spacy_words.split_name(data.tokenizer)
    if name == START:
        if weights is None:
            raise UsageError(
                f"data.tokenizer={data.tokenizer}: means the one beside start.weights, which is "
                "none; set start.weights, or another tokenizer"
            )
        tokenizer = beside(located(weights))
        if tokenizer is None:
            raise UsageError(f"start.weights={weights}: has no tokenizer; set data.tokenizer")
        tokenizer = spacy_words.with_spacy(tokenizer, name) if words else tokenizer
    else:
        tokenizer = load(data)
        check_vocabulary(data, tokenizer, weights, f"start.weights={weights} were", expected=START)
    size = entries(tokenizer)
    if size > limit and name != START:  # with start, the check of the weights reports all changes
        raise UsageError(f"model.vocabulary={limit}: the tokenizer {data.tokenizer} has {size} entries")
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.encode_special_tokens = True  # special tokens spelled out in a text are plain text
    return tokenizer


def check_vocabulary(
    data: Data, tokenizer: Tokenizer, weights: str | None, trained: str, expected: str | None = None
) -> None:
    """Raises UsageError if `weights`, or a run, have a tokenizer beside them with another vocabulary.

    Their embeddings belong to its tokens, whatever else may change. `trained` names them in the message.
    """
    if weights is None:
        return
    theirs = beside(located(weights))
    if theirs is not None and theirs.get_vocab() != tokenizer.get_vocab():
        raise UsageError(
            f"data.tokenizer={data.tokenizer}: not the vocabulary that {trained} trained with; "
            f"expected data.tokenizer={expected or as_tokenizer(weights)}"
        )


def as_tokenizer(weights: str) -> str:
    """The weights' folder as `data.tokenizer`: with a slash, without a checkpoint number."""
    if weights.startswith(PREFIX):
        return weights
    folder = str(_folder(expanded(weights)))
    return folder if published.is_path(folder) else f"./{folder}"


def _folder(weights: Path) -> Path:
    """The folder DIR of DIR or DIR:STEP."""
    if not weights.is_dir() and weights.name.rpartition(":")[2].isdecimal():
        return weights.with_name(weights.name.rpartition(":")[0])
    return weights


def beside(weights: Path) -> Tokenizer | None:
    """The tokenizer in a folder of weights, or of a run as DIR:STEP."""
    weights = _folder(weights)
    if not weights.is_dir():
        raise UsageError(f"start.weights={weights}: no such directory")
    return published.beside(weights)
