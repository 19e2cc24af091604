"""Imports in the record of a run or a sweep: write them, import them again, compare their code."""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from research.config.imports import code, loading
from research.config.imports.loading import OPTION, Import, import_once, is_file
from research.config.names import TRACKERS
from research.config.registry import Registry
from research.errors import UsageError


class Difference(NamedTuple):
    """A file of an import that differs from its record, or an import that fails."""

    name: str
    before: str
    now: str  # a hash of 12 digits, or the reason why there is none
    used: bool  # whether the run's numbers depend on it


def as_recorded(declared: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The imports to record with `declared`, a declaration as JSON: {name: {"sha256": …, "files": …}}.

    These are all that were asked for, and the entry points that register a name in it. "files" holds hashes
    of the code behind the names of its parts.
    """
    kept = {}
    for name, facts in loading.imported().items():
        now = loading.IMPORTED[name]
        if now.asked or any(_names(now, declared)):
            kept[name] = facts | {"files": _code(now, declared)}
    return kept


def import_recorded(record: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Import the modules that a run's or a sweep's record names, and compare the code that it uses.

    Returns {import or file: (recorded hash, present hash or the reason why there is none)} of those that
    differ. A moved file may be imported beforehand by --import: its hash or file name identifies it.
    """
    return {found.name: (found.before, found.now) for found in _differences(record) if found.used}


def changed_imports(record: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """`import_recorded`, with "--import" before each name, for messages."""
    return {f"{OPTION} {name}": pair for name, pair in import_recorded(record).items()}


def where_names_come_from(record: Mapping[str, Any]) -> str:
    """Advice for a record with a name that nobody registers now."""
    reasons = {found.name: found.now for found in _differences(record)} | loading.FAILED
    if reasons:
        lost = ", ".join(f"{name} ({reason})" for name, reason in reasons.items())
        return f"it was made with {lost}; pass its new location with {OPTION}"
    return f"pass the module or file that registers it with {OPTION}"


def _differences(record: Mapping[str, Any]) -> list[Difference]:
    return [found for name, facts in record.get("imports", {}).items() for found in _of(name, facts, record)]


def _of(name: str, facts: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[Difference]:
    before, files = facts["sha256"], facts.get("files")
    if (folder := facts.get("folder")) is not None and folder not in sys.path:
        sys.path.append(folder)
    try:
        present = _stand_in(name, before) or import_once(name)
    except UsageError as error:
        yield Difference(name, before[:12], str(error), files is None or bool(files))
        return
    if files is None:  # an older record has only the hash of the named file
        if present.sha256 != before:
            yield Difference(name, before[:12], present.sha256[:12], True)
        return
    code_now = _code(present, record.get("experiment") or record.get("sweep"))
    for file, sums in files.items():
        own = is_file(name) and file == Path(name).name
        here = present.file.name if own and present.file else file  # it may have been renamed
        place = name if own else f"{name} ({file})"
        if (path := _find(here, present)) is None:
            yield Difference(place, sums["code"][:12], "no such file", True)
            continue
        digest = hashlib.sha256(code.content(path)).hexdigest()
        present_sum = code_now.get(here, {}).get("code", digest)
        # Equal bytes are equal code, even if another version of Python unparses it differently.
        if digest != sums["sha256"] and present_sum != sums["code"]:
            yield Difference(place, sums["code"][:12], present_sum[:12], True)


def _find(file: str, present: Import) -> Path | None:
    folders = (present.root, *map(Path, sys.path))
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def _code(now: Import, declared: Any) -> code.Sums:
    """Hash the code behind used names, or of an import that was asked for and registers none.

    Trackers do not count: no number depends on them.
    """
    used = [
        (name, file)
        for setting, name, file in _names(now, declared)
        if "." in setting and setting != TRACKERS.setting
    ]
    files = {file for _, file in used}
    if not used and now.file is not None and now.asked and not any(_registrations(now)):
        files = {now.file}
    return code.code_of(sorted(files), {name for name, _ in used}, now.root)


def _names(now: Import, declared: Any) -> Iterator[tuple[str, str, Path]]:
    """(setting, name, file) of names that an import registers and a declaration mentions."""
    texts = set(_texts(declared))
    for setting, name, file in _registrations(now):
        schemes = setting == "data.source" and any(f"{name}:" in text for text in texts)
        if name in texts or schemes:
            yield setting, name, file


def _registrations(now: Import) -> Iterator[tuple[str, str, Path]]:
    """(setting, name, file) of names that the import's own files, or files that it imported, register."""
    every = loading.IMPORTED.values()
    for registry in Registry.every:
        for name, file in registry.files().items():
            holder = next((kept for kept in every if kept.holds(file)), None)
            if holder is None:
                holder = next((kept for kept in every if (registry.setting, name) in kept.names), None)
            if holder == now:
                yield registry.setting, name, file


def _texts(declared: Any) -> Iterator[str]:
    if isinstance(declared, str):
        yield declared
    elif isinstance(declared, Mapping):
        yield from (text for value in declared.values() for text in _texts(value))
    elif isinstance(declared, list | tuple):
        yield from (text for value in declared for text in _texts(value))


def _stand_in(name: str, sha256: str) -> Import | None:
    """The import for a recorded name: the one of that name, or of a copied or moved file."""
    every = loading.IMPORTED
    if name in every or not is_file(name):
        return every.get(name)
    files = {Path(other): kept for other, kept in every.items() if is_file(other)}
    copies = [kept for kept in files.values() if kept.sha256 == sha256]
    moved = [kept for path, kept in files.items() if path.name == Path(name).name and not Path(name).exists()]
    return next(iter(copies + moved), None)
