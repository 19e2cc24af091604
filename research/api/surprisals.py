"""Surprisals of texts: a method of LanguageModel, and rows for the table of an experiment."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, overload

from tokenizers import Tokenizer

from research.data import tables
from research.data.tokenizers.tokenizer import end_of_text
from research.errors import UsageError
from research.evaluation.surprisal.surprisals import Options, Surprisals, Token, Word
from research.evaluation.surprisal.surprisals import surprisals as surprisals_of
from research.models import BERT, GPT


class _Model(Protocol):
    """A LanguageModel."""

    @property
    def module(self) -> GPT | BERT: ...
    def _tokenizer(self) -> Tokenizer: ...
    def _check_masked_head(self, method: str) -> None: ...


@overload
def surprisals(
    self: _Model,
    text: str,
    start: bool = ...,
    corrected: bool = ...,
    within_word: bool = ...,
    unit: str = ...,
) -> Surprisals: ...
@overload
def surprisals(
    self: _Model,
    text: Sequence[str],
    start: bool = ...,
    corrected: bool = ...,
    within_word: bool = ...,
    unit: str = ...,
) -> list[Surprisals]: ...
def surprisals(
    self: _Model,
    text: str | Sequence[str],
    start: bool = True,
    corrected: bool = False,
    within_word: bool = False,
    unit: str = "nats",
) -> Surprisals | list[Surprisals]:
    """The surprisal of each word and token of a text, or of each text in a list, with their offsets.

    A GPT reads <|endoftext|> before a text, with `start` and if the tokenizer has it; otherwise a text's
    first token and word have no surprisal (NaN). Sums over tokens give words that are no distribution, since
    a token begins with the space before it; `corrected` moves each space to the word that it ends (Pimentel
    and Meister, 2024). A BERT masks each token in turn (Salazar et al., 2020), and `within_word` also the
    later tokens of its word (Kauf and Ivanova, 2023). `unit` is nats or bits. A text that is longer than the
    context is read in overlapping windows. Raises UsageError for a BERT fine-tuned for a task, for options of
    the other kind of model, and for texts that the tokenizer cannot encode.
    """
    texts = [text] if isinstance(text, str) else list(text)
    if wrong := [one for one in texts if not isinstance(one, str)]:
        raise UsageError(f"surprisals: {wrong[0]!r:.40}: expected a text, or a list of texts")
    found = list(stream(self, texts, Options(start, corrected, within_word, unit)))
    return found[0] if isinstance(text, str) else found


def stream(model: _Model, texts: Iterable[str], options: Options) -> Iterator[Surprisals]:
    """The surprisals of each text, in order, as they are computed. Raises as `surprisals`."""
    if model.module.bidirectional:
        model._check_masked_head("surprisals")
    yield from surprisals_of(model.module, model._tokenizer(), texts, options)


def lacks_start(model: _Model) -> bool:
    """Whether a GPT's tokenizer has no token to begin a text with."""
    return not model.module.bidirectional and end_of_text(model._tokenizer()) is None


class Item(NamedTuple):
    """A text of a file, and the other columns of its row."""

    text: str
    columns: Mapping[str, Any]


def columns(kept: Iterable[str], by_token: bool) -> list[str]:
    """Names of the columns of `rows`. Raises UsageError for kept ones with a name of ours."""
    ours = ["text_id", "word_id", *(Token._fields[:-1] if by_token else Word._fields)]
    tables.check_columns(kept, ours)
    return [*kept, *ours]


def rows(items: Sequence[Item], found: Iterable[Surprisals], by_token: bool) -> Iterator[dict[str, Any]]:
    """A row for each word or token, by column: those of its item, and its own, rounded to six digits.

    `text_id` is the number of a text in its file and `word_id` that of a word in its text, both from 1.
    """
    for number, (item, one) in enumerate(zip(items, found, strict=True), 1):
        shared = {**item.columns, "text_id": number}
        if by_token:
            for token in one.tokens:
                own = token._asdict()
                yield shared | {"word_id": own.pop("word") + 1 or None} | _rounded(own)
        else:
            for index, word in enumerate(one.words, 1):
                yield shared | {"word_id": index} | _rounded(word._asdict())


def write(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> tuple[int, float | None]:
    """Write `rows`, whole or not at all; returns their number and the mean of their surprisals.

    Raises UsageError where the file exists, EnvironmentFault if it cannot be written.
    """
    found: list[float] = []
    count = 0

    def counted() -> Iterator[Mapping[str, Any]]:
        nonlocal count
        for row in rows:
            count += 1
            if row["surprisal"] is not None:
                found.append(row["surprisal"])
            yield row

    tables.write(path, names, counted())
    return count, math.fsum(found) / len(found) if found else None


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (round(value, tables.DIGITS) if math.isfinite(value) else None)
        if isinstance(value, float)
        else value
        for name, value in values.items()
    }
