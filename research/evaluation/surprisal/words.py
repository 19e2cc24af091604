"""Words of a text, the word of each token, and the tokens that begin a word.

Words are what white space separates, as by `str.split`, so punctuation is part of its word. A token that is
only white space belongs to the word after it, as GPT-2's tokens begin with their space. Offsets count
characters of the text as it was given, also where a tokenizer changes case or removes accents.

Shapes: V vocabulary.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from tokenizers import Encoding, Tokenizer

from research.data.tokenizers import spacy_words
from research.data.tokenizers.tokenizer import encode, end_of_text
from research.errors import UsageError

WORD = re.compile(r"\S+")
NO_WORD = -1  # of white space at the end of a text
INSIDE, BEGINS, ENDS = range(3)  # a token continues a word, begins with white space, or ends the text
METASPACE = "▁"  # SentencePiece's space, which its decoder strips


def encoded(tokenizer: Tokenizer, text: str) -> Encoding:
    """The tokens of a text without special ones, with their offsets.

    Raises UsageError for a text that the tokenizer cannot encode, and for GPT-1's words as published, which
    are those of another text.
    """
    if spacy_words.reads_words(tokenizer):
        raise UsageError(
            "the tokenizer spacy:gpt1 rewrites texts, so that its words have no place in them; expected gpt1 "
            "with words by BERT's rules: --tokenizer gpt1"
        )
    return encode(tokenizer, text)


def spans(text: str) -> list[tuple[int, int]]:
    """First and last character, plus one, of each word."""
    return [match.span() for match in WORD.finditer(text)]


def word_of_each_token(offsets: Sequence[tuple[int, int]], words: Sequence[tuple[int, int]]) -> list[int]:
    """The index of the last word that a token has characters of; of white space, of the word after it.

    The pieces of a character that is split over tokens have the same offsets, those of the character.
    """
    starts = [start for start, _ in words]
    found = []
    for start, end in offsets:
        after = bisect_left(starts, end)  # the first word from the token's end on
        within = after > 0 and words[after - 1][1] > start
        following = after if after < len(words) else NO_WORD
        found.append(after - 1 if within else following)
    return found


@lru_cache(maxsize=4)  # 0.2 s for GPT-2's vocabulary, more than a sentence takes; a tokenizer is its own key
def kinds(tokenizer: Tokenizer, vocabulary: int) -> np.ndarray | None:
    """Whether each token is INSIDE a word, BEGINS one or ENDS the text: int8 (V,).

    None for GPT-1's tokenizers, whose tokens mark the ends of words (though one is a line end), and for
    others without tokens that begin with white space, such as BERT's.
    """
    if getattr(tokenizer.model, "end_of_word_suffix", None):
        return None
    pieces = {index: piece for piece, index in tokenizer.get_vocab().items() if index < vocabulary}
    decoded = tokenizer.decode_batch([[index] for index in pieces], skip_special_tokens=False)
    found = np.full(vocabulary, INSIDE, np.int8)
    for (index, piece), text in zip(pieces.items(), decoded, strict=True):
        if text[:1].isspace() or piece.startswith(METASPACE):
            found[index] = BEGINS
    if not found.any():
        return None
    if (end := end_of_text(tokenizer)) is not None:
        found[end] = ENDS
    return found
