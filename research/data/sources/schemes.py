"""Data schemes: the text before the colon of a source selects its reader.

Another package adds a scheme with one record:

    from research.config.names import SCHEMES
    from research.data.sources.schemes import Scheme

    SCHEMES.register("numbers")(Scheme(form="numbers:COUNT", identity=…, documents=…))
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from research.config import Data
from research.config.names import SCHEMES
from research.data.sources import file_records, files, token_files
from research.data.sources.file_records import Records
from research.data.sources.hub import dataset
from research.errors import UsageError, did_you_mean

TEST = "test"  # the split whose labels need not be known


class Source(NamedTuple):
    """A parsed source: 'tfds:c4/en:train[:10%]' is ('tfds', 'c4/en', 'train[:10%]')."""

    scheme: str
    name: str
    split: str = ""  # named in the source itself


class Scheme(NamedTuple):
    """The functions of a data scheme; None for unsupported ones.

    A scheme provides documents (texts to tokenize), records (labelled examples), or both; or tokens, and then
    its `documents` raises UsageError.
    """

    form: str  # the syntax, for error messages
    identity: Callable[[Source], Any]  # JSON that changes with the content; part of cache names
    documents: Callable[[Source, Data, str], Iterator[str]] | None = None  # (source, data, split) → texts
    # (source, names of fields, split) → (location, record)
    records: Callable[[Source, Collection[str], str], Records] | None = None
    tokens: Callable[[Source], Iterator[tuple[Path, np.ndarray]]] | None = None  # (tokens,) of each file
    splits: bool = False  # whether it has published splits, which a source names after a second colon
    configs: bool = False  # whether the name of a config comes before that of the split
    # Of schemes whose sources decide settings: (source) → names of its columns; and its published splits, as
    # {name: the source that names it}.
    columns: Callable[[Source], list[str]] | None = None
    published: Callable[[Source], Mapping[str, str]] | None = None
    # Of schemes whose content has revisions: (name, sources of a run that goes on) → the name with its
    # revision, that of the run or today's.
    pinned: Callable[[str, str], str] | None = None
    unpinned: Callable[[str], str] = str  # removes the revisions from a text


def parse(text: str, setting: str, content: str) -> Source:
    """Parse a source. Raises UsageError for a scheme that is unknown, or without `content`: "documents" or
    "records".
    """
    scheme, colon, name = text.partition(":")
    if not colon or scheme not in SCHEMES or not name:
        raise UsageError(
            f"{setting}={text}: expected {_forms(content)}{_hint(text, scheme if colon else '')}"
        )
    if getattr(SCHEMES[scheme], content) is None:
        raise UsageError(f"{setting}={text}: {scheme}: gives no {content}; expected {_forms(content)}")
    if not SCHEMES[scheme].splits:
        return Source(scheme, name)
    name, *others = name.split(":", 2 if SCHEMES[scheme].configs else 1)
    if SCHEMES[scheme].configs and others:
        name = f"{name}:{others.pop(0)}"
    return Source(scheme, name.removesuffix(":"), "".join(others))


def identity(source: Source) -> list[Any]:
    """JSON that changes with the content of a source."""
    # The names of existing stores depend on the form of these facts.
    own = [source.split] if SCHEMES[source.scheme].splits else []
    return [source.scheme, SCHEMES[source.scheme].identity(source), *own]


def terms(text: str) -> list[str]:
    """The sources, perhaps with shares, that + joins; TFDS splits and names of files may have a + too."""
    names = "|".join(map(re.escape, SCHEMES))
    return re.split(rf"\s*\+\s*(?=(?:\d*\.?\d+\*)?(?:{names}):)", text)


def joined(text: str, setting: str, content: str = "records") -> list[Source]:
    """Parse sources to be read one after another, joined by +: 'tfds:glue/rte:train+files:x.tsv'."""
    return [parse(one, setting, content) for one in terms(text)]


def records(declared: str, names: Collection[str], split: str) -> Records:
    """The records of `joined` sources, with the fields `names`; `split` is of those that name none."""
    for source in joined(declared, "data.source, data.validation"):
        yield from SCHEMES[source.scheme].records(source, names, split)


def has_revisions(text: str) -> bool:
    """Whether a declared source has a term whose content has revisions."""
    return any(SCHEMES[name].pinned and f"{name}:" in text for name in SCHEMES.names())


def unpinned(text: str) -> str:
    """A declared source, which may have several terms, without the revisions that `pinned` adds."""
    for name in SCHEMES.names():
        text = SCHEMES[name].unpinned(text)
    return text


def pinned(text: str, setting: str, known: str = "") -> str:
    """A declared source with the revision of each term that has one: from the sources `known` of a run to
    continue, else the current one. Raises UsageError as the schemes do.
    """
    schemes = "|".join(re.escape(name) for name in SCHEMES.names() if SCHEMES[name].pinned)
    one = re.compile(rf"(?<![\w./])({schemes}):([^+\s]+)")

    def pin(match: re.Match[str]) -> str:
        content = "records" if SCHEMES[match[1]].records else "documents"
        source = parse(match[0], setting, content)
        rest = match[2][len(source.name) :]
        return f"{source.scheme}:{SCHEMES[source.scheme].pinned(source.name, known)}{rest}"

    return one.sub(pin, text) if schemes else text


def _forms(content: str) -> str:
    """The syntax of all registered schemes with this content."""
    return " or ".join(
        SCHEMES[name].form for name in reversed(SCHEMES.names()) if getattr(SCHEMES[name], content)
    )


def _hint(text: str, scheme: str) -> str:
    if os.path.exists(text):
        return f"; did you mean {files.as_source(text)}?"
    return did_you_mean(scheme, SCHEMES.names()) if scheme and scheme not in SCHEMES else ""


def _files_records(source: Source, names: Collection[str], split: str) -> Records:
    paths = files.match(source.name, file_records.SUFFIXES)
    return chain.from_iterable(file_records.records(path, names, every_row=split == TEST) for path in paths)


def _tokens_documents(source: Source, data: Data, split: str) -> Iterator[str]:
    raise UsageError(
        f"data.tokenizer={data.tokenizer}: needs text, and tokens:{source.name} holds none; expected the "
        "tokenizer that its tokens were made with, such as data.tokenizer=gpt2, or nanoGPT's meta.pkl beside "
        "them for data.tokenizer=char"
    )


def _tfds() -> ModuleType:
    """Its import takes seconds, and other sources do not need it."""
    from research.data.sources import tfds_source

    return tfds_source


def _drawn_records(source: Source, names: Collection[str], split: str, drawn: bool) -> Records:
    """COUNT records drawn like scikit-learn's train_test_split with SEED, or the rest."""
    from sklearn.model_selection import train_test_split

    count, seed, of = _drawn_of(source)
    records = list(SCHEMES[of.scheme].records(of, names, split))
    if not 0 < count < len(records):
        given = f"{source.scheme}:{source.name}"
        raise UsageError(f"{given}: expected fewer than all {len(records)} records, from 1")
    others, chosen = train_test_split(records, test_size=count, random_state=seed)
    yield from chosen if drawn else others


def _drawn_of(source: Source) -> tuple[int, int, Source]:
    """The count, the seed and the source of COUNT:SEED:SOURCE."""
    form = SCHEMES[source.scheme].form
    count, seed, inner = [*source.name.split(":", 2), "", ""][:3]
    if not (count.isdecimal() and seed.isdecimal() and int(seed) < 1 << 32):
        raise UsageError(f"{source.scheme}:{source.name}: expected {form} with a SEED below 2^32")
    return int(count), int(seed), parse(inner, f"{source.scheme}:{count}:{seed}", "records")


def _drawn_identity(source: Source) -> list[Any]:
    count, seed, of = _drawn_of(source)
    return [count, seed, identity(of)]


for name, drawn in (("drawn", True), ("rest", False)):
    SCHEMES.register(name)(
        Scheme(
            f"{name}:COUNT:SEED:SOURCE",
            identity=_drawn_identity,
            records=partial(_drawn_records, drawn=drawn),
        )
    )
SCHEMES.register("files")(
    Scheme(
        "files:GLOB",
        identity=lambda source: files.identity(files.match(source.name)),
        documents=lambda source, data, split: files.read(
            files.match(source.name), data.field, data.documents
        ),
        records=_files_records,
        columns=lambda source: file_records.columns(files.match(source.name, file_records.SUFFIXES)[0]),
    )
)
SCHEMES.register("tokens")(
    Scheme(
        "tokens:GLOB",
        identity=lambda source: files.identity(files.match(source.name, files.TOKENS)),
        documents=_tokens_documents,
        tokens=lambda source: ((p, token_files.read(p)) for p in files.match(source.name, files.TOKENS)),
    )
)
SCHEMES.register("hf")(
    Scheme(
        dataset.FORM,
        identity=lambda source: dataset.identity(source.name, source.split),
        documents=lambda source, data, split: dataset.read(
            source.name, split or source.split or "train", data.field
        ),
        records=lambda source, names, split: dataset.records(source.name, source.split or split),
        splits=True,
        configs=True,
        columns=lambda source: dataset.columns(source.name, source.split or "train"),
        published=lambda source: dataset.split_names(source.name),
        pinned=dataset.pinned,
        unpinned=lambda text: re.sub(r"(?<=\w)@[0-9a-f]{40}(?![0-9a-f])", "", text),
    )
)
SCHEMES.register("tfds")(
    Scheme(
        "tfds:NAME[/CONFIG][:SPLIT]",
        identity=lambda source: _tfds().identity(source.name),
        documents=lambda source, data, split: _tfds().read(
            source.name, split or source.split or "train", data.field
        ),
        records=lambda source, names, split: _tfds().records(source.name, source.split or split),
        splits=True,
    )
)
