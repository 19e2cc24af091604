"""Texts to ids, faster where BERT's normalizer has next to nothing to do.

It goes through every character with its place in the text on record, which takes two fifths of all time. Of
printable ASCII it changes nothing but the case, and `str.lower` does that a hundred times as fast.
"""

import re
from collections.abc import Callable
from functools import partial

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

REMOVED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # control characters


def encoder(tokenizer: Tokenizer) -> Callable[[list[str]], list[list[int]]]:
    """The ids of each text, without special tokens around them; the spelling of one in a text is but text."""
    whole = _copy(tokenizer)
    if not _only_lowers(whole):
        return partial(_ids, whole)
    lowercase, bare = whole.normalizer.lowercase, _copy(tokenizer)
    bare.normalizer = None

    def encode_apart(texts: list[str]) -> list[list[int]]:
        plain = [is_plain(text) for text in texts]
        easy = [text for text, is_easy in zip(texts, plain, strict=True) if is_easy]
        if lowercase:
            easy = [text.lower() for text in easy]
        hard = [text for text, is_easy in zip(texts, plain, strict=True) if not is_easy]
        of_easy, of_hard = iter(_ids(bare, easy)), iter(_ids(whole, hard))
        return [next(of_easy if is_easy else of_hard) for is_easy in plain]

    return encode_apart


def is_plain(text: str) -> bool:
    """Whether it is ASCII without control characters, but for tabs and ends of lines."""
    return text.isascii() and (text.isprintable() or not REMOVED.search(text))


def _copy(tokenizer: Tokenizer) -> Tokenizer:
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    return copy


def _ids(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [found.ids for found in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _only_lowers(tokenizer: Tokenizer) -> bool:
    """Whether case is all that its normalizer changes in plain text, as far as what follows can tell.

    Tabs and ends of lines become spaces, which is one to BERT's pre-tokenizer. A token that was added to be
    found in texts as it is spelled would not be found in lower case.
    """
    return (
        isinstance(tokenizer.normalizer, BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and all(token.special for token in tokenizer.get_added_tokens_decoder().values())
    )
