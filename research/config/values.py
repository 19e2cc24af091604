"""Values of settings as texts and as JSON, converted to the types of their fields. Standard library only."""

import math
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from research.config.checks import choice
from research.errors import UsageError


def convert(value: Any, hint: Any, name: str) -> Any:
    """Converts `value`, a text or a JSON value, to the type `hint`; `name` is for the message."""
    if get_origin(hint) in (Union, UnionType):
        options = get_args(hint)
        if NoneType in options and (value is None or value == "none"):
            return None
        if any(value in get_args(option) for option in options if get_origin(option) is Literal):
            return value
        (hint,) = (
            option for option in options if option is not NoneType and get_origin(option) is not Literal
        )
    if get_origin(hint) is tuple:  # (x, …): comma-separated
        items = [item for item in value.split(",") if item] if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise UsageError(f"{name}={value}: expected comma-separated texts")
        return tuple(convert(item, get_args(hint)[0], name) for item in items)
    if get_origin(hint) in (Literal, Annotated):
        choice(value, hint, name)
        return value
    if hint is str and isinstance(value, str):
        return value
    if hint is bool:
        if isinstance(value, bool):
            return value
        if value in ("true", "false"):
            return value == "true"
        raise UsageError(f"{name}={value}: expected true or false")
    if hint in (int, float) and not isinstance(value, bool):
        for read in (int, float) if hint is int else (float,):  # 6e5 is an integer too
            try:
                number = read(value)
            except (TypeError, ValueError):
                continue
            if not math.isfinite(number):
                break
            if hint is float or (number % 1 == 0 and (isinstance(value, str) or number == value)):
                return hint(number)
    raise UsageError(f"{name}={value}: expected {_a(hint)}")


def format_value(value: Any) -> str:
    """Formats a value so that `convert` can read it: 'none', 'true', 'a,b'."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(map(format_value, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _a(hint: type) -> str:
    return {int: "an integer", float: "a number", str: "a text"}[hint]
