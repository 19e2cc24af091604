"""One wording for the files and folders that several records name, so that equal ones compare as equal.

A run keeps its paths as typed, a trial of a sweep the absolute ones; two folders may each have a data.txt.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

NAMES = ("data.source", "data.validation", "data.tokenizer", "start.weights")
OF_DATA = ("data.source", "data.validation")  # which the data's fingerprints identify too


class Named(NamedTuple):
    """What a record says of its files."""

    settings: Mapping[str, Any]
    paths: Mapping[str, str]  # {"data.source": its absolute form, …}; empty in records of older versions
    data: tuple[str, ...]  # SHA-256 of the tokens trained on and of those validated on; empty if not recorded


def alike(records: Sequence[Named]) -> list[dict[str, Any]]:
    """The settings of each record, with one wording where several records mean the same files.

    It is the shortest that was typed, or the absolute one where the shortest is also typed for other files.
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
    """For each record, a text that is equal where two mean the same files."""
    meant, by_data = [], {}
    for one in records:
        what = one.paths.get(name, str(one.settings.get(name)))
        if name in OF_DATA and one.data and one.settings.get(name) is not None:
            what = by_data.setdefault(one.data, what)
        meant.append(what)
    return meant
