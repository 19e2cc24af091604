"""One wording for files and folders in several records, so that equal ones compare as equal.

A run keeps paths as typed, a trial of a sweep absolute ones; two folders may each have a data.txt.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NAMES = ("data.source", "data.validation", "data.tokenizer", "start.weights", "objective.teacher")
OF_DATA = ("data.source", "data.validation")  # fingerprints identify these too


class Named(NamedTuple):
    """The settings of a record, and facts that identify the files in them."""

    settings: Mapping[str, Any]
    paths: Mapping[str, str]  # {"data.source": its absolute form, …}; empty in records of older versions
    data: tuple[str, ...]  # SHA-256 of training and validation tokens; empty if not recorded


def alike(records: Sequence[Named]) -> list[dict[str, Any]]:
    """The settings of each record, with one wording where several records mean the same files.

    It is the shortest one typed, or the absolute path if other files have that shortest wording too.
    """
    found = [dict(one.settings) for one in records]
    for name in NAMES:
        meant = _meant(records, name)
        wordings: dict[str, str] = {}
        for one, what in zip(records, meant, strict=True):
            if isinstance(typed := one.settings.get(name), str):
                wordings[what] = min(wordings.get(what, typed), typed, key=lambda text: (len(text), text))
        counts = list(wordings.values())
        for settings, what in zip(found, meant, strict=True):
            if what in wordings:
                settings[name] = what if counts.count(wordings[what]) > 1 else wordings[what]
    return found


def _meant(records: Sequence[Named], name: str) -> list[str]:
    """A text for each record, equal for records that mean the same files."""
    meant, by_data = [], {}
    for one in records:
        what = one.paths.get(name, str(one.settings.get(name)))
        if name in OF_DATA and one.data and one.settings.get(name) is not None:
            what = by_data.setdefault(one.data, what)
        meant.append(what)
    return meant
