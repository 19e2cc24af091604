"""Settings that a typed source of text decides: field, split, vocabulary size."""

from collections.abc import Collection
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

from research.config import Data
from research.config.names import SCHEMES
from research.data.sources import file_records, files
from research.data.sources.documents import documents, parts
from research.data.sources.schemes import Source, parse
from research.data.tokenizers import published, tokenizer, trained
from research.errors import EnvironmentFault, UsageError

FIELDS = ("text", "content", "body", "document")  # names of a text field; the first that exists is used
SPLITS = ("train", "validation")
HOLDOUTS = (0.1, 0.2, 0.5)  # for few documents; the first that holds one out is used


def text_settings(
    data: Data, typed: Collection[str], *, in_pairs: bool, required: bool = False
) -> dict[str, Any]:
    """{setting: value} that follow from a typed `data.source`, by dotted name.

    A source without published splits is split by documents, or by its tail if it is one text (by its
    paragraphs for BERT's `in_pairs`); with `data.validation` not at all. `typed` settings are kept. Errors of
    unreadable sources are raised only if they are `required`; otherwise, preparing them raises the errors.

    Raises UsageError for a source of a mixture without documents for both splits, unless sources are
    `required`: a resumed run keeps its split.
    """
    followed = _followed(data, typed, in_pairs=in_pairs, required=required)
    data = replace(data, **{name.removeprefix("data."): value for name, value in followed.items()})
    if not required and data.split == "documents" and data.validation is None:
        _refuse_one_sided(data)
    return followed


def _followed(data: Data, typed: Collection[str], *, in_pairs: bool, required: bool) -> dict[str, Any]:
    followed: dict[str, Any] = {}
    parsed: list[Source] = []
    try:
        sources = [source for _, source in parts(replace(data, split="documents"))]
        parsed = [parse(source.source, "data.source", "documents") for source in sources]
        if "data.field" not in typed and len(sources) == 1 and SCHEMES[parsed[0].scheme].columns:
            followed |= _field(data.field, parsed[0])
        if "data.split" in typed or data.validation is not None:
            return followed
        if len(parsed) == 1 and SCHEMES[parsed[0].scheme].tokens:
            return followed if data.split in ("tail", "head") else {"data.split": "tail"}
        if _are_published(parsed):
            return followed | {"data.split": "published"}
        data = replace(data, **{name.removeprefix("data."): value for name, value in followed.items()})
        if data.split == "published" and all(_may_be_published(source) for source in parsed):
            return followed
        if data.split in ("tail", "head") and len(sources) == 1:
            return followed
        return followed | _split(data, typed, parsed, in_pairs)
    except (UsageError, EnvironmentFault):
        if required:
            raise
        # Files have no published split, which preparing them would refuse.
        own = "data.split" in typed or data.validation is not None or data.split != "published"
        unread = [source for source in parsed if not SCHEMES[source.scheme].splits]
        return followed if own or not unread else followed | {"data.split": "documents"}


def short_text_tokenizer(data: Data) -> str:
    """`data.tokenizer`, or a smaller one if the files' text is too short for its entries.

    Unreadable sources decide nothing.
    """
    try:
        sources = [parse(source.source, "data.source", "documents") for _, source in parts(data)]
        if all(source.scheme == "files" for source in sources):
            return trained.fitted(data)
    except (UsageError, EnvironmentFault):
        pass
    return data.tokenizer


def vocabulary(data: Data) -> int | None:
    """The number of entries of the declared tokenizer; None if it is not available yet."""
    scheme, _, size = data.tokenizer.partition(":")
    if scheme in trained.SCHEMES and size.isdecimal():
        return int(size)
    try:
        found = trained.load(data) if scheme in trained.SCHEMES else published.load(data.tokenizer)
    except (UsageError, EnvironmentFault):
        return None
    return tokenizer.entries(found)


def _are_published(sources: list[Source]) -> bool:
    """Whether all sources have published training and validation splits, and name none."""
    return all(
        (splits := SCHEMES[source.scheme].published) and not source.split and {*SPLITS} <= {*splits(source)}
        for source in sources
    )


def _may_be_published(source: Source) -> bool:
    scheme = SCHEMES[source.scheme]
    return scheme.splits and not source.split and scheme.published is None


def _field(declared: str, source: Source) -> dict[str, str]:
    """The field with the text, if the source has fields, but not the `declared` one."""
    if declared.isdecimal() or not (columns := _fields(source)):
        return {}
    known = next((name for name in FIELDS if name in columns), None)
    if declared in columns or known is None:
        return {}
    return {"data.field": known}


def _fields(source: Source) -> list[str]:
    """The fields of the first file that has any."""
    if source.scheme != "files":
        return SCHEMES[source.scheme].columns(source)
    suffixes = tuple(suffix for suffix in files.SUFFIXES if suffix not in files.TEXTS)
    path = next((path for path in files.match(source.name) if path.name.endswith(suffixes)), None)
    return file_records.columns(path) if path else []


def _split(data: Data, typed: Collection[str], parsed: list[Source], in_pairs: bool) -> dict[str, Any]:
    split = {} if data.split == "documents" else {"data.split": "documents"}
    data = replace(data, split="documents")
    if not all(SCHEMES[source.scheme].columns for source in parsed):
        return split
    each = [one for _, one in parts(data)]
    short = [one for one, source in zip(each, parsed, strict=True) if _is_one(one, source)]
    by_paragraphs = in_pairs and "data.documents" not in typed
    if short and by_paragraphs and all(_has_paragraphs(one) for one in each):
        split["data.documents"], data, short = "paragraphs", replace(data, documents="paragraphs"), []
    if short and len(each) == 1:
        holdout = {} if "data.holdout" in typed else {"data.holdout": max(data.holdout, HOLDOUTS[0])}
        return {"data.split": "tail"} | holdout
    if "data.holdout" in typed or _both_sides(data):
        return split
    for holdout in HOLDOUTS:
        if _both_sides(replace(data, holdout=holdout)):
            return split | {"data.holdout": holdout}
    return split


def _has_paragraphs(data: Data) -> bool:
    return _count(replace(data, documents="paragraphs"), "all", 2) == 2


def _both_sides(data: Data) -> bool:
    """Whether both splits have a document from each source."""
    return all(_count(one, split, 1) for _, one in parts(data) for split in SPLITS)


def _refuse_one_sided(data: Data) -> None:
    """Raises UsageError for a source of a mixture without a document in one of the splits."""
    try:
        mixture = [one for _, one in parts(data)]
        sources = [parse(one.source, "data.source", "documents") for one in mixture]
        if len(mixture) == 1 or not all(SCHEMES[source.scheme].columns for source in sources):
            return
        missing = [(one, split) for one in mixture for split in SPLITS if not _count(one, split, 1)]
    except (UsageError, EnvironmentFault):
        return  # preparing the sources raises the error
    if missing:
        one, split = missing[0]
        role = "trains" if split == "train" else "validates"
        raise UsageError(
            f"{one.source}: no document of it {role} with data.holdout={data.holdout:g}; expected one of "
            "each source of a mixture; type data.documents=paragraphs or data.validation=SOURCE"
        )


def _is_one(data: Data, source: Source) -> bool:
    if source.scheme != "files":
        return False
    paths = files.match(source.name)
    whole = data.documents == "files" and all(path.name.endswith(files.TEXTS) for path in paths)
    return len(paths) == 1 if whole else _count(data, "all", 2) == 1


def _count(data: Data, split: Literal["train", "validation", "all"], most: int) -> int:
    """The number of documents of a split, up to `most`."""
    try:
        return sum(1 for _ in islice(documents(data, split), most))
    except UsageError as error:
        if "no document" in str(error):
            return 0
        raise
