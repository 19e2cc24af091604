"""Data sets of the Hugging Face Hub, read file by file from their Parquet files: the scheme `hf:`."""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from research.data.sources import files, parquet
from research.data.sources.hub import layout
from research.data.sources.hub.listing import COMMIT, FORM, Listing, fetched, listing, nearest
from research.errors import LineageWarning, UsageError

MAIN = "main"


class Found(NamedTuple):
    """The Parquet files of a config, at a commit."""

    repository: str  # OWNER/NAME
    commit: str
    config: str
    splits: layout.Splits
    hashes: Mapping[str, str]  # file → the Hub's hash of its content


def identity(name: str, split: str) -> dict[str, list[str]]:
    """The hash of each file, by split: other commits and names with the same files are the same data."""
    found = find(name)
    return {one: [found.hashes[path] for path in _files(found, one)] for one in _wanted(found, split)}


def read(name: str, split: str, field: str) -> Iterator[str]:
    """The column `field` of a split, one file after the other; rows without a text are left out."""
    for path in _paths(find(name), split):
        yield from files.column(path, field)


def records(name: str, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and row, record) of a split, with classes as names; class -1, no label, becomes None."""
    for path in _paths(find(name), split):
        classes = _classes(path)
        for where, record in parquet.rows(path):
            yield where, record | {field: _named(record[field], names) for field, names in classes.items()}


def columns(name: str, split: str) -> list[str]:
    """Names of the columns, from the first file of a split."""
    return parquet.columns(next(_paths(find(name), split)))


def split_names(name: str) -> dict[str, str]:
    """{split: the source with its config and this split}."""
    found, (repository, revision, _) = find(name), _parsed(name)
    address = f"{repository}@{revision}" if revision else repository
    return {split: f"hf:{address}:{found.config}:{split}" for split in found.splits}


def pinned(name: str, known: str = "") -> str:
    """Pins OWNER/NAME[@REVISION][:CONFIG] to a commit: that of the same data set in the sources `known`, else
    the current one of its revision.
    """
    repository, revision, config = _parsed(name)
    if COMMIT.fullmatch(revision or ""):
        return name
    kept = re.search(rf"hf:{re.escape(repository)}@({COMMIT.pattern})", known)
    commit = kept[1] if kept else find(name).commit
    return f"{repository}@{commit}{f':{config}' if config else ''}"


def find(name: str) -> Found:
    """The files of OWNER/NAME[@REVISION][:CONFIG].

    For a data set without Parquet files, the Hub's converted files, unless a revision is given.
    Raises UsageError for a data set, revision or config that does not exist.
    """
    repository, revision, config = _parsed(name)
    found = listing(repository, revision or MAIN)
    if layout.is_export(found.files):
        return _exported(found, repository, config)
    try:
        settings = layout.declared(found.card)
        names = list(settings or {layout.DEFAULT: {}})
        chosen = config or layout.default(names, settings)
        splits = layout.splits(found.files, settings.get(chosen, {})) if chosen in names else {}
    except UsageError as error:
        raise UsageError(f"hf:{repository}: {error}") from None
    parquet = {split: [one for one in paths if one.endswith(".parquet")] for split, paths in splits.items()}
    if parquet and all(parquet.values()):
        return Found(repository, found.commit, str(chosen), parquet, found.files)
    if revision is None and chosen is not None:
        with suppress(UsageError):  # not converted, or without this config
            return _exported(listing(repository, layout.CONVERTED), repository, config)
    _check(chosen, names, repository)
    kinds = sorted({Path(path).suffix for paths in splits.values() for path in paths})
    has = f"; its files end in {', '.join(kinds)}" if kinds else ""
    raise UsageError(
        f"hf:{repository}: no Parquet files of config {chosen}{has}; files:GLOB reads local files"
    )


def _exported(found: Listing, repository: str, config: str | None) -> Found:
    configs = layout.exported(found.files)
    chosen = _check(config or layout.default(configs, {}), list(configs), repository)
    return Found(repository, found.commit, chosen, configs[chosen], found.files)


def _check(config: str | None, known: list[str], repository: str) -> str:
    if config is None:
        raise UsageError(f"hf:{repository}:CONFIG: none is named{nearest('', known)}")
    if config not in known:
        raise UsageError(f"hf:{repository}: no config {config}{nearest(config, known)}")
    return config


def _parsed(name: str) -> tuple[str, str | None, str]:
    """(OWNER/NAME, revision, config)."""
    address, _, config = name.partition(":")
    repository, at, revision = address.partition("@")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository) or (at and not revision):
        raise UsageError(f"hf:{name}: expected {FORM}")
    return repository, revision or None, config


def _wanted(found: Found, split: str) -> list[str]:
    return [split] if split else list(found.splits)


def _files(found: Found, split: str) -> list[str]:
    if split not in found.splits:
        where = f"hf:{found.repository}:{found.config}"
        raise UsageError(f"{where}: no split {split}{nearest(split, list(found.splits))}")
    return found.splits[split]


def _paths(found: Found, split: str) -> Iterator[Path]:
    """The files of a split, each fetched before it is read."""
    files = _files(found, split)
    if layout.is_partial(files[0]):
        warnings.warn(
            f"hf:{found.repository}:{found.config}:{split}: the Hub has converted its beginning only",
            LineageWarning,
            stacklevel=2,
        )
    return (fetched(found.repository, found.commit, path) for path in files)


def _classes(path: Path) -> dict[str, list[str]]:
    """{column: the names of its classes}, as the `datasets` library writes them into a file."""
    try:
        features = json.loads(parquet.metadata(path).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    found = {}
    for column, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and inner.get("names"):
            found[column] = inner["names"]
    return found


def _named(value: Any, names: list[str]) -> Any:
    """Replaces a class, or a list of classes (tags), by names."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
