"""Documents of a source, split into training and validation."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn

import numpy as np

from research.config import Data
from research.config.names import SCHEMES
from research.data.sources import schemes, standardize
from research.data.sources.schemes import Source, identity, unpinned
from research.data.tokenizers import published
from research.errors import UsageError
from research.io.cache import MADE

Split = Literal["train", "validation"]

WEIGHTED = re.compile(r"(\d*\.?\d+)\*(.+)", re.DOTALL)
PATHS = re.compile(r"(?<![\w-])(files|tokens):")  # a source of these is a path


class Document(NamedTuple):
    """A text, with its split and its source."""

    part: int  # index of the source in a mixture
    split: Split
    text: str


def documents(data: Data, split: Split | Literal["all"]) -> Iterator[str]:
    """The nonempty texts of `split` in a fixed order; "all" means both splits."""
    splits = ("train", "validation") if split == "all" else (split,)
    return (document.text for document in read(data, splits))


def read(data: Data, splits: tuple[Split, ...] = ("train", "validation")) -> Iterator[Document]:
    """Every nonempty document of `splits`, once, in a fixed order.

    With `data.split=tail` or `head` all documents belong to "train", and the token store splits the tokens
    later. With `data.validation` they do too, and its documents belong to "validation". Raises UsageError for
    a source that cannot be read, and for a source without documents.
    """
    empty, clean = True, standardize.STANDARDS[data.standardize]
    for part, side, one, published_split in _readings(data, splits):
        for text in _read(one, published_split):
            if not isinstance(text, str):  # a scheme of another package may yield it
                kind = type(text).__name__
                raise UsageError(f"data.source={data.source}: a document is a {kind}; expected a text")
            split = side or ("validation" if _held_out(text, data.holdout) else "train")
            if split in splits and (cleaned := clean(text)):
                empty = False
                yield Document(part, split, cleaned)
    if empty:
        missing = "is in it" if len(splits) == 2 else "trains" if "train" in splits else "validates"
        where, share = f"data.source={data.source}", ""
        if data.validation is not None:
            where = where if "train" in splits else f"data.validation={data.validation}"
        elif data.split == "documents":
            share = f" with data.holdout={data.holdout:g}"
        raise UsageError(f"{where}: no document {missing}{share}")


def parts(data: Data) -> list[tuple[float, Data]]:
    """The sources of a mixture with their shares, which add up to 1. A plain source, and sources that + joins
    without shares, to be read one after another, are one with the share 1.

    Raises UsageError for a mixture that is not W*SOURCE+W*SOURCE…, where W is a positive number.
    """
    terms = schemes.terms(data.source)
    if not any(WEIGHTED.fullmatch(term) for term in terms):
        return [(1.0, data)]
    matches = [match for term in terms if (match := WEIGHTED.fullmatch(term)) and float(match[1])]
    if len(matches) < len(terms):
        raise UsageError(
            f"data.source={data.source}: expected a mixture 0.7*SOURCE+0.3*SOURCE, or SOURCE+SOURCE without "
            "shares, one after another"
        )
    if data.split == "head" and data.splits_tokens:
        raise UsageError(
            "data.split=head: a mixture has no head; "
            "use data.split=tail, documents or published, or data.validation=SOURCE"
        )
    total = sum(float(match[1]) for match in matches)
    return [(float(match[1]) / total, replace(data, source=match[2])) for match in matches]


def holds_tokens(data: Data) -> bool:
    """Whether the sources hold tokens instead of texts. Raises UsageError if some do and others do not."""
    found = [one for _, one in parts(data)] + _validation(data)
    each = [source for one in found for source in sources(one)]
    kinds = {bool(SCHEMES[one.scheme].tokens): f"{one.scheme}:{one.name}" for one in each}
    if len(kinds) == 2:
        raise UsageError(f"{kinds[True]} holds tokens and {kinds[False]} text; expected only one kind")
    return True in kinds


def token_files(data: Data, split: Split) -> Iterator[Iterator[tuple[Path, np.ndarray]]]:
    """For each source of a split, the path and tokens of its files.

    With `data.split=tail` or `head` all of them belong to "train".
    """
    found = _validation(data) if split == "validation" else [one for _, one in parts(data)]
    for one in found:
        yield chain.from_iterable(SCHEMES[source.scheme].tokens(source) for source in sources(one))


def fingerprint(data: Data) -> str:
    """A hash of everything that determines the documents: contents of the sources, and split settings."""
    identities = [_identity(source) for _, source in parts(data)]
    holdout = {"published": None, "head": data.head}.get(data.split, data.holdout)
    standard = standardize.IN_CACHES[data.standardize]
    facts = [identities, data.field, data.split, holdout, data.documents, standard]
    if data.validation is not None:
        facts[2:4] = [_identity(one) for one in _validation(data)], None
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def folder_name(data: Data, key: str) -> str:
    """Name of a cache folder: readable words, and the hash of `key`.

    The words help people who look into the cache. They do not contain paths, because the same bytes at
    another path are the same corpus.
    """
    words = f"{unpinned(data.source)}-{data.tokenizer}"
    if PATHS.search(data.source):
        words = "files" if published.is_path(data.tokenizer) else f"files-{data.tokenizer}"
    readable = re.sub(r"\W+", "-", words)[-60:].strip("-")
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def note_maker(folder: Path, data: Data) -> None:
    """Writes the source and tokenizer of a cache folder into it, for `lineage cache`."""
    made = {"source": data.source, "tokenizer": data.tokenizer}
    if data.validation is not None:
        made["validation"] = data.validation
    (folder / MADE).write_text(json.dumps(made), encoding="utf-8")


def check_unchanged(data: Data, before: str) -> None:
    """Raise UsageError if the fingerprint, part of a cache's name, is no longer `before`."""
    if fingerprint(data) != before:
        refuse_changed(data)


def refuse_changed(data: Data) -> NoReturn:
    raise UsageError(f"data.source={data.source}: changed while it was read; run the command again")


def _identity(data: Data) -> list:
    found = [identity(source) for source in sources(data)]
    return found[0] if len(found) == 1 else found


def _readings(data: Data, splits: tuple[Split, ...]) -> Iterator[tuple[int, Split | None, Data, str]]:
    """What to read for `splits`: (index of the source, its split, the source, its published split).

    The split is None if each document has its own.
    """
    for part, (_, one) in enumerate(parts(data)):
        if data.validation is None and data.split == "published":
            for split in splits:
                yield part, split, one, split
        elif data.validation is None and data.split == "documents":
            yield part, None, one, ""
        elif "train" in splits:
            yield part, "train", one, ""
    if "validation" in splits:
        for one in _validation(data):
            yield 0, "validation", one, "validation"


def _validation(data: Data) -> list[Data]:
    """The sources of `data.validation`."""
    if data.validation is None:
        return []
    return [one for _, one in parts(replace(data, source=data.validation))]


def _held_out(text: str, holdout: float) -> bool:
    """Decide by the text's hash: stable when documents are added or reordered; copies get the same split."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) < holdout * 2**64


def _read(data: Data, split: str = "") -> Iterator[str]:
    """The texts of one source, from the published `split` if the source names none."""
    for source in sources(data):
        yield from SCHEMES[source.scheme].documents(source, data, "" if source.split else split)


def sources(data: Data) -> list[Source]:
    """The source, or the sources that + joins. Raises UsageError if `data.split` does not fit one."""
    setting = "data.validation" if data.source == data.validation else "data.source"
    found = schemes.joined(data.source, setting, "documents")
    for source in found:
        _check_split(data, source)
    return found


def _check_split(data: Data, source: Source) -> None:
    if data.validation is not None:
        return
    if SCHEMES[source.scheme].tokens and not data.splits_tokens:
        raise UsageError(
            f"data.split={data.split}: {source.scheme}:{source.name} is not read as documents; "
            "use data.split=tail or head, or data.validation=SOURCE"
        )
    if data.split == "published" and (source.split or not SCHEMES[source.scheme].splits):
        hint = (
            f"drop :{source.split} from the source"
            if source.split
            else f"{source.scheme} have no splits of their own"
        )
        raise UsageError(f"data.split=published: {hint}; or use data.split=documents or tail")
