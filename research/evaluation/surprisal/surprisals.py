"""Surprisals of the tokens and words of texts, with their places in the text.

A word's surprisal is the sum of its tokens'. GPT-2's tokens begin with the space before them, so that such a
sum has the end of the word before it and lacks its own, and is not of a distribution over words. `corrected`
moves each end to its own word (Pimentel and Meister, 2024; Oh and Schuler, 2024):

    p(word | text) = p(its tokens | text) · p(a word begins or the text ends | text, word)
                                          / p(a word begins or the text ends | text)

For a text's first word, without a space before it, the denominator is p(no word begins, or the text ends).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer

from research.data.tokenizers.tokenizer import end_of_text, special_tokens
from research.errors import UsageError
from research.evaluation.surprisal import causal, masked
from research.evaluation.surprisal.distributions import Measures
from research.evaluation.surprisal.words import BEGINS, encoded, kinds, spans, word_of_each_token
from research.io.activity import activity
from research.models import BERT, GPT

TOGETHER = 1_024  # texts that are sorted by length, scored and returned
UNITS = {"nats": 1.0, "bits": math.log(2)}


class Options(NamedTuple):
    start: bool = True  # a GPT reads <|endoftext|> before a text, if the tokenizer has it
    corrected: bool = False  # a GPT's words, for the spaces that tokens begin with
    within_word: bool = False  # for a BERT's token, the later tokens of its word are masked too
    unit: str = "nats"


class Token(NamedTuple):
    token: str  # an entry of the vocabulary
    start: int  # its first character in the text
    end: int  # its last character, plus one
    surprisal: float  # NaN for a first token with nothing before it
    entropy: float  # of the distribution that predicts the token
    rank: int | None  # 1 for the most likely token
    word: int  # its index in `words`; -1 for white space at the end of the text


class Word(NamedTuple):
    word: str
    start: int
    end: int
    surprisal: float  # the sum over its tokens; NaN if one has none, and for a word without tokens
    entropy: float  # of the distribution that predicts its first token
    tokens: int


class Surprisals(NamedTuple):
    """Of one text, in its order."""

    text: str
    words: list[Word]
    tokens: list[Token]


def surprisals(
    model: GPT | BERT,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    options: Options = Options(),  # noqa: B008
) -> Iterator[Surprisals]:
    """The surprisals of each text, in order, in `options.unit`.

    Raises UsageError for options of the other kind of model, for a BERT without a masked-token head, and for
    a text that the tokenizer cannot encode.
    """
    if options.unit not in UNITS:
        raise UsageError(f"unit {options.unit}: not known; expected nats or bits")
    kinds_V = kinds(tokenizer, model.config.vocabulary) if options.corrected else None
    for batch, found in measured(model, tokenizer, texts, options, kinds_V):
        for (text, encoding), measures in zip(batch, found, strict=True):
            yield _of_text(text, encoding, measures, kinds_V, UNITS[options.unit])


def measured(
    model: GPT | BERT,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    options: Options,
    kinds_V: np.ndarray | None = None,
) -> Iterator[tuple[list[tuple[str, Encoding]], list[Measures]]]:
    """Texts with their tokens, and the measures of these, many texts at a time. Raises as `surprisals`."""
    _check(model, options)
    special = special_tokens(tokenizer) if model.bidirectional else None
    if model.bidirectional and special is None:
        raise UsageError("the tokenizer has no [MASK]; a BERT's is needed")
    start = end_of_text(tokenizer) if options.start else None
    remaining, done = iter(texts), 0
    while batch := [(text, encoded(tokenizer, text)) for text in islice(remaining, TOGETHER)]:
        with activity("scoring") as show:
            show(f"texts {done + 1:,} to {done + len(batch):,}")
            if isinstance(model, BERT):
                assert special is not None  # it was checked
                rows = [masked.Row(encoding.ids, encoding.word_ids) for _, encoding in batch]
                found = masked.measures(model, rows, special, options.within_word)
            else:
                found = causal.measures(model, [one.ids for _, one in batch], start, kinds_V)
        yield batch, found
        done += len(batch)


def _check(model: GPT | BERT, options: Options) -> None:
    if not isinstance(model, BERT):
        if options.within_word:
            raise UsageError("within_word: masks tokens of a BERT; a GPT reads from left to right")
        return
    if options.corrected:
        raise UsageError(
            "corrected: for words of a GPT; a BERT's pseudo-likelihoods have no spaces to correct"
        )
    if model.config.left_only:
        raise UsageError("model.left_only=true: this BERT reads from left to right, and fills in no [MASK]")
    if model.masked is None:
        raise UsageError(
            f"the model was fine-tuned (model.head={model.config.head}) and predicts no tokens; expected a "
            "pre-trained one"
        )


def _of_text(
    text: str, encoding: Encoding, measures: Measures, kinds_V: np.ndarray | None, unit: float
) -> Surprisals:
    places = spans(text)
    words_of = word_of_each_token(encoding.offsets, places)
    surprisals, entropies = -measures.log_probabilities / unit, measures.entropies / unit
    tokens = [
        Token(piece, start, end, float(surprisal), float(entropy), int(rank) or None, word)
        for piece, (start, end), surprisal, entropy, rank, word in zip(
            encoding.tokens, encoding.offsets, surprisals, entropies, measures.ranks, words_of, strict=True
        )
    ]
    ends = _ends(encoding.ids, kinds_V, measures.kinds) / unit
    tokens_of: dict[int, list[int]] = defaultdict(list)
    for n, word in enumerate(words_of):
        tokens_of[word].append(n)
    words = []
    for index, (start, end) in enumerate(places):
        total, entropy, its = math.nan, math.nan, tokens_of[index]
        if its:
            total = float(surprisals[its].sum() + ends[its[-1] + 1] - ends[its[0]])
            entropy = float(entropies[its[0]])
        words.append(Word(text[start:end], start, end, total, entropy, len(its)))
    return Surprisals(text, words, tokens)


def _ends(ids: Sequence[int], kinds_V: np.ndarray | None, log_kinds: np.ndarray) -> np.ndarray:
    """Surprisal, in nats, that a word ends before each token, and at the end of the text: (S + 1,).

    Of the first token, that a text begins as this one does. 0 before a word that no white space announces,
    where the sum over tokens has nothing to correct.
    """
    if kinds_V is None or not len(ids):
        return np.zeros(len(ids) + 1)
    announced = np.asarray([True, *(kinds_V[ids[1:]] >= BEGINS), True])
    return np.where(announced, -log_kinds, 0.0)
