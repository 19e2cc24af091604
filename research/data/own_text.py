"""Settings that a typed source of text decides: field, split, vocabulary size."""

from collections.abc import Collection
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

from research.config import Data, Task
from research.config.names import SCHEMES
from research.data.sources import file_records, files
from research.data.sources.documents import documents, parts
from research.data.sources.schemes import Source, joined
from research.data.tokenizers import published, tokenizer, trained
from research.errors import EnvironmentFault, UsageError

FIELDS = ("text", "content", "body", "document")  # names of a text field; the first that exists is used
SPLITS = ("train", "validation")
HOLDOUTS = (0.1, 0.2, 0.5)  # for few documents; the first that holds one out is used


def text_settings(
    data: Data, typed: Collection[str], *, in_pairs: bool, required: bool = False
) -> dict[str, Any]:
    """{setting: value} that follow from a typed `data.source`, by dotted name.

    A source without published splits is split by documents if each source of a mixture has some on both
    sides, else by its tail; one text by its tail too, or by its paragraphs for BERT's `in_pairs`. With
    `data.validation` nothing is split. `typed` settings are kept. Errors of unreadable sources are raised
    only if they are `required`; otherwise, preparing them raises the errors.

    Raises UsageError for a mixture with a typed split by documents that leaves a source without either side,
    unless sources are `required`: a resumed run keeps its split.
    """
    followed: dict[str, Any] = {}
    parsed: list[Source] = []
    split_given, one_sided = "data.split" in typed or data.validation is not None, False
    try:
        parsed = [source for one in _parts(data) for source in joined(one.source, "data.source", "documents")]
        if "data.field" not in typed and len(_parts(data)) == 1 and SCHEMES[parsed[0].scheme].columns:
            followed = _field(data.field, parsed[0])
            data = replace(data, field=followed.get("data.field", data.field))
        if not split_given:
            followed |= _split(data, typed, parsed, in_pairs)
        elif data.split == "documents" and data.validation is None and _are_read(parsed) and not required:
            one_sided = len(_parts(data)) > 1 and not _both_sides(data)
    except (UsageError, EnvironmentFault):
        if required:
            raise
        # Files have no published split, which preparing them would refuse.
        if (
            data.split == "published"
            and not split_given
            and not all(SCHEMES[s.scheme].splits for s in parsed)
        ):
            followed["data.split"] = "documents"
    if one_sided:
        raise UsageError(
            f"data.split=documents: a source of {data.source} has no document that trains, or none that "
            f"validates with data.holdout={data.holdout:g}; expected data.split=tail, "
            "data.documents=paragraphs or data.validation=SOURCE"
        )
    return followed


def short_text_tokenizer(data: Data) -> str:
    """`data.tokenizer`, or a smaller one if the files' text is too short for its entries.

    Unreadable sources decide nothing.
    """
    try:
        sources = [one for _, part in parts(data) for one in joined(part.source, "data.source", "documents")]
        if all(source.scheme == "files" for source in sources):
            return trained.fitted(data)
    except (UsageError, EnvironmentFault):
        pass
    return data.tokenizer


def vocabulary(data: Data, task: Task | None = None) -> int | None:
    """The number of entries of the declared tokenizer; None if it is not available yet."""
    scheme, _, size = data.tokenizer.partition(":")
    if scheme in trained.SCHEMES and size.isdecimal():
        return int(size)
    try:
        found = trained.load(data, task) if scheme in trained.SCHEMES else published.load(data.tokenizer)
    except (UsageError, EnvironmentFault):
        return None
    return tokenizer.entries(found)


def _parts(data: Data) -> list[Data]:
    return [one for _, one in parts(replace(data, split="documents"))]


def _are_read(sources: list[Source]) -> bool:
    """Whether settings are decided by reading the sources; TFDS would prepare a data set first."""
    return all(SCHEMES[source.scheme].columns for source in sources)


def _are_published(sources: list[Source], declared: str) -> bool:
    """Whether all sources have published training and validation splits, and name none."""
    for source in sources:
        scheme = SCHEMES[source.scheme]
        known = {*scheme.published(source)} if scheme.published else None  # None: as declared
        declares = scheme.splits and declared == "published"
        if source.split or not (declares if known is None else {*SPLITS} <= known):
            return False
    return True


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
    path = next((path for path in files.match(source.name) if not files.is_text(path)), None)
    return file_records.columns(path) if path else []


def _split(data: Data, typed: Collection[str], parsed: list[Source], in_pairs: bool) -> dict[str, Any]:
    if any(SCHEMES[source.scheme].tokens for source in parsed):
        return {} if data.split in ("tail", "head") else {"data.split": "tail"}
    if _are_published(parsed, data.split):
        return {"data.split": "published"}
    if data.split in ("tail", "head") and len(_parts(data)) == 1:
        return {}
    decided = {"data.split": "documents"}
    if not _are_read(parsed):
        return decided
    data = replace(data, split="documents")
    if any(_is_one_text(one) for one in _parts(data)):
        paragraphs = replace(data, documents="paragraphs")
        if not in_pairs or "data.documents" in typed or not _has_paragraphs(paragraphs):
            return _tail(data, typed)
        decided["data.documents"], data = "paragraphs", paragraphs
    for holdout in (data.holdout,) if "data.holdout" in typed else (data.holdout, *HOLDOUTS):
        if _both_sides(replace(data, holdout=holdout)):
            return decided | {"data.holdout": holdout}
    return _tail(data, typed)


def _tail(data: Data, typed: Collection[str]) -> dict[str, Any]:
    holdout = data.holdout if "data.holdout" in typed else max(data.holdout, HOLDOUTS[0])
    return {"data.split": "tail", "data.holdout": holdout}


def _is_one_text(part: Data) -> bool:
    source, *more = joined(part.source, "data.source", "documents")
    if more or source.scheme != "files" or part.documents != "files":
        return False
    paths = files.match(source.name)
    return len(paths) == 1 and files.is_text(paths[0])


def _has_paragraphs(data: Data) -> bool:
    return all(_count(one, "all", 2) == 2 for one in _parts(data))


def _both_sides(data: Data) -> bool:
    """Whether both splits have a document from each source."""
    return all(_count(one, split, 1) for one in _parts(data) for split in SPLITS)


def _count(data: Data, split: Literal["train", "validation", "all"], most: int) -> int:
    """The number of documents of a split, up to `most`."""
    try:
        return sum(1 for _ in islice(documents(data, split), most))
    except UsageError as error:
        if "no document" in str(error):
            return 0
        raise
