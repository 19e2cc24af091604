"""Labelled records of any data scheme, and the values of their fields."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from research.config.names import SCHEMES
from research.data.sources.schemes import Record, chain
from research.errors import UsageError, did_you_mean


def read(declared: str, names: Collection[str], split: str) -> Iterator[tuple[str, Record]]:
    """(location, record) for every record of one source, or of several joined by +, in order.

    `names` are the fields to read; a table's first row is a header if it contains one of them. `split`
    applies to sources that name no split. Raises UsageError for a source that cannot be read.
    """
    for source in chain(declared, "data.source, data.validation"):
        yield from SCHEMES[source.scheme].records(source, names, split)


def value(record: Record, field: str, where: str, setting: str) -> Any:
    """The value of `field`, which may list alternatives a|b|…, with bytes decoded.

    Raises UsageError, with the location `where` and the name of the `setting`, for a field that is missing.
    """
    for name in field.split("|"):
        if name in record:
            return plain(record[name])
    raise UsageError(f"{where}: no field {field} ({setting}){did_you_mean(field, record)}")


def plain(value: Any) -> Any:
    """Convert bytes and NumPy values to strings, numbers, lists and dicts."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
