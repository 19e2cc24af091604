"""A source is a stream of documents, of which some train and some validate."""

import hashlib
import json
import os
from collections.abc import Iterator
from typing import Literal

from research.config import Data
from research.data import files
from research.errors import UsageError

Split = Literal["train", "validation", "all"]


def documents(data: Data, split: Split) -> Iterator[str]:
    """The texts of `split`, in a fixed order, without empty ones; "all" is everything that is read.

    Where `data.split` is "tail" there is only "all": tokens are cut, not documents.
    Raises UsageError for a source that cannot be read, and for a split without documents.
    """
    count = 0
    for text in _chosen(data, split):
        if text:
            count += 1
            yield text
    if not count:
        missing = {"train": "trains", "validation": "validates", "all": "is in it"}[split]
        share = f" with data.holdout={data.holdout:g}" if data.split == "documents" else ""
        raise UsageError(f"data.source={data.source}: no document {missing}{share}")


def fingerprint(data: Data) -> str:
    """A hash of what decides the documents: the files or the data set, and how they are split."""
    kind, name, spec = _parse(data)
    if kind == "files":
        identity = files.identity(files.match(name))
    else:
        from research.data import datasets

        identity = datasets.identity(name)
    holdout = None if data.split == "published" else data.holdout
    facts = [kind, identity, spec, data.field, data.split, holdout]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _chosen(data: Data, split: Split) -> Iterator[str]:
    if data.split == "published":
        for name in ("train", "validation") if split == "all" else (split,):
            yield from _read(data, name)
    elif split == "all":
        yield from _read(data)
    elif data.split == "documents":
        for text in _read(data):
            if _held_out(text, data.holdout) == (split == "validation"):
                yield text
    else:
        raise ValueError(f"data.split=tail has no split {split}")


def _held_out(text: str, holdout: float) -> bool:
    """By the text's hash: stable under growth and order, and copies fall on one side."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) < holdout * 2**64


def _read(data: Data, published: str = "") -> Iterator[str]:
    kind, name, spec = _parse(data)
    if kind == "files":
        return files.read(files.match(name), data.field)
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
