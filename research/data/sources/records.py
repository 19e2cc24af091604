"""Labelled records of any scheme, and the values of their fields."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from research.config.names import SCHEMES
from research.data.sources.schemes import Record, chain
from research.errors import UsageError, did_you_mean


def read(declared: str, names: Collection[str], split: str) -> Iterator[tuple[str, Record]]:
    """(where it stands, record) in order, of one source or of several joined by +.

    `names` are the fields asked for, by which a table's header is known. `split` is taken of a data set whose
    source names none. Raises UsageError for a source that cannot be read.
    """
    for source in chain(declared, "data.source, data.validation"):
        yield from SCHEMES[source.scheme].records(source, names, split)


def value(record: Record, field: str, where: str, setting: str) -> Any:
    """What `record` has under `field`, or under one of the names in a|b|…; bytes are decoded."""
    for name in field.split("|"):
        if name in record:
            return plain(record[name])
    raise UsageError(f"{where}: no field {field} ({setting}){did_you_mean(field, record)}")


def plain(found: Any) -> Any:
    """Texts, numbers and lists of them, for NumPy's and for bytes."""
    if isinstance(found, bytes):
        return found.decode()
    if isinstance(found, Mapping):
        return {name: plain(item) for name, item in found.items()}
    if isinstance(found, np.ndarray | list | tuple):
        return [plain(item) for item in found]
    return found.item() if isinstance(found, np.generic) else found
