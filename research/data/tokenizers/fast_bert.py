"""Faster BERT tokenization of ASCII text, without the library's normalizer.

BERT's normalizer tracks the offset of every character, which takes 40% of the tokenization time. In printable
ASCII it only changes the case, and `str.lower` does that a hundred times as fast.
"""

import re
from collections.abc import Callable
from functools import partial

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from research.data.tokenizers.spacy_words import reads_words, words

REMOVED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # control characters


def encoder(tokenizer: Tokenizer, standardize: str = "none") -> Callable[[list[str]], list[list[int]]]:
    """A function from texts to ids. It adds no special tokens; one spelled out in a text is ordinary text.

    `standardize` is how the texts have been cleaned: data.standardize.
    """
    full = _copy(tokenizer)
    if reads_words(full):
        return lambda texts: _ids(full, words(texts, standardized=standardize == "gpt1"))
    if not _only_lowercases(full):
        return partial(_ids, full)
    lowercase, unnormalized = full.normalizer.lowercase, _copy(tokenizer)
    unnormalized.normalizer = None

    def encode(texts: list[str]) -> list[list[int]]:
        plain = [is_plain(text) for text in texts]
        fast = [text for text, flag in zip(texts, plain, strict=True) if flag]
        if lowercase:
            fast = [text.lower() for text in fast]
        slow = [text for text, flag in zip(texts, plain, strict=True) if not flag]
        fast_ids, slow_ids = iter(_ids(unnormalized, fast)), iter(_ids(full, slow))
        return [next(fast_ids if flag else slow_ids) for flag in plain]

    return encode


def is_plain(text: str) -> bool:
    """Whether the text is ASCII without control characters other than tabs and line ends."""
    return text.isascii() and (text.isprintable() or not REMOVED.search(text))


def _copy(tokenizer: Tokenizer) -> Tokenizer:
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    return copy


def _ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _only_lowercases(tokenizer: Tokenizer) -> bool:
    """Whether lowercasing is the only change of the normalizer to plain text that affects the ids.

    The normalizer also turns tabs and line ends into spaces, which BERT's pre-tokenizer treats alike. Added
    tokens that are not special must match the text as it is spelled, so they rule out lowercasing.
    """
    return (
        isinstance(tokenizer.normalizer, BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and all(token.special for token in tokenizer.get_added_tokens_decoder().values())
    )
