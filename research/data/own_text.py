"""Settings that a typed source of text decides: its field, its split, the size of the vocabulary."""

from collections.abc import Collection
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

from research.config import Data
from research.config.names import SCHEMES
from research.data.sources import files, labelled_files
from research.data.sources.documents import documents, parts
from research.data.sources.schemes import Source, parse
from research.data.tokenizers import published, tokenizer, trained
from research.errors import EnvironmentFault, UsageError

FIELDS = ("text", "content", "body", "document")  # names of a field with text, the first that is there
HOLDOUTS = (0.1, 0.2, 0.5)  # for few documents, the first that holds one out


def text_settings(data: Data, typed: Collection[str], *, in_pairs: bool) -> dict[str, Any]:
    """{setting: value} that follow from `data.source`, which was typed, as dotted names.

    A source without published splits is split by documents, or by its tail if it is one text; `in_pairs`, as
    BERT reads a text, by its paragraphs. Settings that were `typed` are kept. Sources that cannot be read
    decide nothing here: preparing them says what is wrong.
    """
    followed: dict[str, Any] = {}
    try:
        sources = [source for _, source in parts(replace(data, split="documents"))]
        parsed = [parse(source.source, "data.source", "documents") for source in sources]
        if "data.field" not in typed and len(sources) == 1 and parsed[0].scheme == "files":
            followed |= _field(data.field, parsed[0].name)
        if "data.split" in typed:
            return followed
        data = replace(data, **{name.removeprefix("data."): value for name, value in followed.items()})
        if data.split == "published" and all(SCHEMES[s.scheme].splits and not s.split for s in parsed):
            return followed
        if data.split in ("tail", "head") and len(sources) == 1:
            return followed
        return followed | _split(data, typed, parsed, in_pairs)
    except (UsageError, EnvironmentFault):
        return followed


def vocabulary(data: Data) -> int | None:
    """The entries of the tokenizer that `data` declare; None where it is not to be had yet."""
    scheme, _, size = data.tokenizer.partition(":")
    if scheme in trained.SCHEMES and size.isdecimal():
        return int(size)
    try:
        found = trained.load(data) if scheme in trained.SCHEMES else published.load(data.tokenizer)
    except (UsageError, EnvironmentFault):
        return None
    return tokenizer.entries(found)


def _field(declared: str, pattern: str) -> dict[str, str]:
    """The field with the text of the first file that has fields, where it has none of the `declared` name."""
    suffixes = tuple(suffix for suffix in files.SUFFIXES if suffix != ".txt")
    path = next((path for path in files.match(pattern) if path.name.endswith(suffixes)), None)
    if path is None or declared.isdecimal():
        return {}
    columns = labelled_files.columns(path)
    known = next((name for name in FIELDS if name in columns), None)
    if declared in columns or known is None:
        return {}
    return {"data.field": known}


def _split(data: Data, typed: Collection[str], parsed: list[Source], in_pairs: bool) -> dict[str, Any]:
    split = {} if data.split == "documents" else {"data.split": "documents"}
    data = replace(data, split="documents")
    if any(source.scheme != "files" for source in parsed):
        return split
    if len(parsed) == 1 and _is_one(data, parsed[0].name):
        if not in_pairs:
            holdout = {} if "data.holdout" in typed else {"data.holdout": max(data.holdout, HOLDOUTS[0])}
            return {"data.split": "tail"} | holdout
        if "data.documents" not in typed:
            split["data.documents"] = "paragraphs"
            data = replace(data, documents="paragraphs")
    if "data.holdout" in typed or _both_sides(data):
        return split
    for holdout in HOLDOUTS:
        if _both_sides(replace(data, holdout=holdout)):
            return split | {"data.holdout": holdout}
    return split


def _both_sides(data: Data) -> bool:
    """Whether a document trains and one validates."""
    return all(_count(data, split, 1) for split in ("train", "validation"))


def _is_one(data: Data, pattern: str) -> bool:
    paths = files.match(pattern)
    whole = data.documents == "files" and all(path.suffix == ".txt" for path in paths)
    return len(paths) == 1 if whole else _count(data, "all", 2) == 1


def _count(data: Data, split: Literal["train", "validation", "all"], most: int) -> int:
    """Documents of a split, up to `most`."""
    try:
        return sum(1 for _ in islice(documents(data, split), most))
    except UsageError as error:
        if "no document" in str(error):
            return 0
        raise
