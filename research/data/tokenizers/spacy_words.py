"""GPT-1's words as published: cleaned text, split by spaCy's rules for English, in lower case.

It follows TextEncoder in text_utils.py of openai/finetune-transformer-lm; each line end is a word. With the
same spaCy and ftfy, the ids equal those of that code on all of 60 excerpts of 20,000 characters from novels.
Compared with the versions of 2018 (spaCy 2.0.18, ftfy 4.4.3), it differs in 1 word of 281,595 tokens. Without
spaCy, by BERT's rules for words, 96.6% of the ids are equal.

Such a tokenizer splits at spaces, and its texts go through `prepared` first. The pattern at which it splits
marks it, also in tokenizer.json.
"""

import threading
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from research.data.sources import standardize
from research.errors import EnvironmentFault, UsageError

PREFIX = "spacy:"  # of a tokenizer's name
MARK = pre_tokenizers.Split(Regex(" (?#the words of ftfy and spaCy)"), "removed")
BERT = pre_tokenizers.BertPreTokenizer()
NEEDS = "it needs spaCy and ftfy: pip install 'lineage-lm[gpt1]'"

_reading = threading.Lock()  # a pipeline is not thread-safe


def split_name(name: str) -> tuple[str, str]:
    """Splits a tokenizer's name into a prefix, which may be empty, and the rest."""
    return (PREFIX, name.removeprefix(PREFIX)) if name.startswith(PREFIX) else ("", name)


def with_spacy(tokenizer: Tokenizer, name: str) -> Tokenizer:
    """The GPT-1 tokenizer `name` with the published words.

    Raises UsageError for a tokenizer of another kind, EnvironmentFault without spaCy or ftfy.
    """
    if not (reads_words(tokenizer) or ends_words(tokenizer)):
        raise UsageError(
            f"data.tokenizer={PREFIX}{name}: expected GPT-1's tokenizer, whose words end in </w>"
        )
    if not all(_versions()):
        raise EnvironmentFault(f"data.tokenizer={PREFIX}{name}: {NEEDS}; data.tokenizer={name} needs neither")
    return _with(tokenizer, None, MARK)


def without_spacy(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with words split by BERT's rules, as in Transformers; see `difference`."""
    return _with(tokenizer, normalizers.BertNormalizer(lowercase=True), BERT)


def reads_words(tokenizer: Tokenizer) -> bool:
    """Whether texts need `prepared` before the tokenizer encodes them."""
    return _state(tokenizer.pre_tokenizer) == _state(MARK)


def ends_words(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer is one of GPT-1's kind, with words split by BERT's rules."""
    model = tokenizer.model
    kind = isinstance(model, models.BPE) and model.end_of_word_suffix == "</w>"
    return kind and _state(tokenizer.pre_tokenizer) == _state(BERT)


def prepared(tokenizer: Tokenizer, text: str) -> str:
    """Prepares `text` for the tokenizer: its words, if the tokenizer reads words, else unchanged."""
    return words([text])[0] if reads_words(tokenizer) else text


def words(texts: list[str], standardized: bool = False) -> list[str]:
    """The published words of each text, separated by single spaces.

    Texts already cleaned by `data.standardize` are `standardized`; cleaning them twice would change some.
    """
    nlp = _english()
    cleaned = [text.strip(" ") if standardized else standardize.gpt1(text) for text in texts]
    with _reading, nlp.memory_zone():  # frees the words that spaCy caches
        found = [[token.text for token in nlp.tokenizer(text)] for text in cleaned]
    return [" ".join("\n" if word.isspace() else word.lower() for word in each) for each in found]


def rules(tokenizer: Tokenizer) -> str:
    """The versions that determine the words, for cache names; empty for tokenizers without them."""
    return " spaCy {} ftfy {}".format(*_versions()) if reads_words(tokenizer) else ""


def difference(tokenizer: Tokenizer, name: str) -> str | None:
    """One line on how the ids of GPT-1's tokenizer with BERT's rules differ from the published ones."""
    if not ends_words(tokenizer):
        return None
    return (
        f"data.tokenizer={name}: words are split by BERT's rules, as in Transformers; 97% of the published "
        f"ids, and no token for a line end. data.tokenizer={PREFIX}{name} has the published words"
    )


def _with(tokenizer: Tokenizer, normalizer, pre_tokenizer) -> Tokenizer:
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.normalizer, copy.pre_tokenizer = normalizer, pre_tokenizer
    return copy


def _state(component: object) -> object:
    return None if component is None else component.__getstate__()


def _versions() -> tuple[str | None, str | None]:
    return _version("spacy"), _version("ftfy")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _english():
    if not all(_versions()):
        raise EnvironmentFault(f"the tokenizer reads words of spaCy: {NEEDS}")
    from spacy.lang.en import English

    return English()
