"""A source is a stream of documents, of which some train and some validate."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

from research.config import Data
from research.data import files, published, standardize
from research.errors import UsageError

Split = Literal["train", "validation"]

WEIGHTED = re.compile(r"(\d*\.?\d+)\*(.+)", re.DOTALL)
PLUS = re.compile(r"\s*\+\s*(?=\d*\.?\d+\*)")  # before a weight: TFDS and file names may have their own


class Document(NamedTuple):
    """A text and where it belongs."""

    part: int  # of the mixture, from 0
    split: Split
    text: str


def documents(data: Data, split: Split | Literal["all"]) -> Iterator[str]:
    """The texts of `split`, in a fixed order, without empty ones; "all" is everything that is read."""
    return (document.text for document in read(data, ("train", "validation") if split == "all" else (split,)))


def read(data: Data, splits: tuple[Split, ...] = ("train", "validation")) -> Iterator[Document]:
    """Every document of `splits`, once, in a fixed order, without empty ones.

    Where `data.split` is "tail", all are of "train": tokens are cut later, not documents.
    Raises UsageError for a source that cannot be read, and where there is no document at all.
    """
    empty = True
    for part, (_, one) in enumerate(parts(data)):
        for split, text in _divided(one, splits):
            cleaned = standardize.STANDARDS[data.standardize](text)
            if cleaned and split in splits:
                empty = False
                yield Document(part, split, cleaned)
    if empty:
        missing = "is in it" if len(splits) > 1 else {"train": "trains", "validation": "validates"}[splits[0]]
        share = f" with data.holdout={data.holdout:g}" if data.split == "documents" else ""
        raise UsageError(f"data.source={data.source}: no document {missing}{share}")


def parts(data: Data) -> list[tuple[float, Data]]:
    """The sources of a mixture with their shares; a plain source is a mixture of one.

    Raises UsageError for a mixture that is not W*SOURCE+W*SOURCE…, W being a positive number.
    """
    terms = PLUS.split(data.source)
    if len(terms) == 1 and not WEIGHTED.fullmatch(data.source):
        return [(1.0, data)]
    matches = [WEIGHTED.fullmatch(term) for term in terms]
    if not all(match and float(match[1]) for match in matches):
        raise UsageError(f"data.source={data.source}: expected a mixture 0.7*SOURCE+0.3*SOURCE")
    if data.split == "tail":
        raise UsageError("data.split=tail: a mixture has no tail; use data.split=documents or published")
    total = sum(float(match[1]) for match in matches)
    return [(float(match[1]) / total, replace(data, source=match[2])) for match in matches]


def fingerprint(data: Data) -> str:
    """A hash of what decides the documents: the files or the data sets, and how they are split."""
    identities = [_identity(one) for _, one in parts(data)]
    holdout = None if data.split == "published" else data.holdout
    facts = [identities, data.field, data.split, holdout, data.documents, data.standardize]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def folder_name(data: Data, key: str) -> str:
    """Of a cache of what `key` tells, in words and by its hash.

    The words are for those who look into the cache. Of files they tell no place: the same bytes elsewhere
    are the same corpus.
    """
    words = f"{data.source}-{data.tokenizer}"
    if any(one.source.startswith("files:") for _, one in parts(data)):
        words = "files" if published.is_path(data.tokenizer) else f"files-{data.tokenizer}"
    readable = re.sub(r"\W+", "-", words)[-60:].strip("-")
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def see_unchanged(data: Data, before: str) -> None:
    """Raises UsageError where the fingerprint, which a cache is named by, is not what it was `before`."""
    if fingerprint(data) != before:
        raise UsageError(f"data.source={data.source}: changed while it was read; begin again")


def _identity(data: Data) -> list:
    kind, name, spec = _parse(data)
    if kind == "files":
        return [kind, files.identity(files.match(name))]
    from research.data import datasets

    return [kind, datasets.identity(name), spec]


def _divided(data: Data, splits: tuple[Split, ...]) -> Iterator[tuple[Split, str]]:
    if data.split == "published":
        for split in splits:
            yield from ((split, text) for text in _read(data, split))
    elif data.split == "documents":
        for text in _read(data):
            yield "validation" if _held_out(text, data.holdout) else "train", text
    else:
        yield from (("train", text) for text in _read(data))


def _held_out(text: str, holdout: float) -> bool:
    """By the text's hash: stable under growth and order, and copies fall on one side."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) < holdout * 2**64


def _read(data: Data, published: str = "") -> Iterator[str]:
    kind, name, spec = _parse(data)
    if kind == "files":
        return files.read(files.match(name), data.field, data.documents)
    # Imported late: a source of files needs no TFDS, and importing it registers data sets.
    from research.data import datasets

    return datasets.read(name, published or spec or "train", data.field)


def _parse(data: Data) -> tuple[str, str, str]:
    """'tfds:c4/en:train[:10%]' → ('tfds', 'c4/en', 'train[:10%]'); 'files:GLOB' → ('files', GLOB, '')."""
    kind, _, name = data.source.partition(":")
    if kind not in ("tfds", "files") or not name:
        hint = f"; did you mean files:{data.source}?" if os.path.exists(data.source) else ""
        forms = "tfds:NAME[/CONFIG][:SPLIT] or files:GLOB"
        raise UsageError(f"data.source={data.source}: expected {forms}{hint}")
    spec = ""
    if kind == "tfds":
        name, _, spec = name.partition(":")
    if data.split == "published" and (kind == "files" or spec):
        given = "files have no splits of their own" if kind == "files" else f"drop :{spec} from the source"
        raise UsageError(f"data.split=published: {given}; or use data.split=documents or tail")
    return kind, name, spec
