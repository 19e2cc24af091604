"""The values of a record's fields."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from research.data.sources.file_records import Record
from research.errors import UsageError, did_you_mean


def alternatives(*fields: str) -> list[str]:
    """The names that `fields` list: a|b|… is the first of these columns that a record has."""
    return [name for field in fields for name in field.split("|")]


def value(record: Record, field: str, where: str, setting: str) -> Any:
    """The value of `field`, with bytes decoded.

    Raises UsageError, with the location `where` and the name of the `setting`, for a field that is missing.
    """
    for name in alternatives(field):
        if name in record:
            return plain(record[name])
    # The first row of a table that lacks the field, and so is taken for one without a header.
    header = "0" in record and not field.isdecimal()
    known = [str(cell)[:30] for cell in record.values()] if header else record
    raise UsageError(f"{where}: no field {field} ({setting}){did_you_mean(field, known)}")


def text(record: Record, field: str, where: str, setting: str) -> str:
    """The text of a field. Raises UsageError as `value` does, and for a value of another type."""
    found = value(record, field, where, setting)
    if not isinstance(found, str):
        raise UsageError(f"{where}: field {field} is not a text but {found!r:.40} ({setting})")
    try:
        found.encode()
    except UnicodeEncodeError as fault:  # JSON can escape an unpaired surrogate
        raise UsageError(f"{where}: \\u{ord(found[fault.start]):04x} is an unpaired surrogate") from fault
    return found


def plain(value: Any) -> Any:
    """Convert bytes and NumPy values to strings, numbers, lists and dicts."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
