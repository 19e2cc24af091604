"""Declarations as trees of named settings: set, listed, compared, kept as JSON. Standard library only."""

import dataclasses
import math
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeGuard,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from research.config import Experiment
from research.config.checks import choice
from research.errors import UsageError, did_you_mean

FORMAT = 1  # of experiment.json; a reader refuses other formats


class Declaration(Protocol):
    """A dataclass of settings."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


T = TypeVar("T", bound=Declaration)


def override(config: T, changes: Mapping[str, Any]) -> T:
    """Sets dotted names in `config`, e.g. {"optimizer.rate.peak": "1e-3"}; texts are converted.

    All changes are applied before any is validated, so their order does not matter.
    Raises UsageError for an unknown name or a value of the wrong type.
    """
    tree: dict = {}
    for name, value in changes.items():
        value = typed(config, name, value)
        *parents, leaf = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[leaf] = value
    return _replace(config, tree)


def typed(config: Any, name: str, value: Any) -> Any:
    """Converts `value` to the type of the setting `name`, without checks against other settings."""
    return convert(value, _hint(type(config), name), name)


def parse_assignments(texts: list[str]) -> dict[str, str]:
    """['a.b=v', …] → {'a.b': 'v', …}."""
    changes = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{text}: expected a.b=value")
        changes[name.strip()] = value
    return changes


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


def to_json(config: Experiment) -> dict:
    """A JSON object that `from_json` turns back into an equal experiment."""
    return {"format": FORMAT} | dataclasses.asdict(config)


def from_json(record: Mapping[str, Any]) -> Experiment:
    """Raises UsageError for another format, an unknown field, or a missing one that has no default."""
    if record.get("format") != FORMAT:
        raise UsageError(f"the record has format {record.get('format')}; this version reads format {FORMAT}")
    kept = {k: v for k, v in record.items() if k != "format"}
    parallel = kept.get("parallel", {})
    # Earlier versions accepted any number of devices and used one.
    if parallel.get("compile") == "jit" and parallel.get("data") != 1:
        kept["parallel"] = parallel | {"data": -1}
    return _build(Experiment, kept, "")


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """{'model.family': 'gpt2', …} in the order of declaration."""
    flat = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        name = f"{prefix}{f.name}"
        flat |= flatten(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return flat


def differences(old: Experiment, new: Experiment) -> dict[str, tuple[Any, Any]]:
    """{'run.steps': (100, 200), …}: the settings whose values differ."""
    before, after = flatten(old), flatten(new)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def _hint(cls: type, name: str) -> Any:
    """The type of a dotted name; suggests the nearest among all names if there is none."""
    hint: Any = cls
    for part in name.split("."):
        hints = get_type_hints(hint, include_extras=True) if _is_section(hint) else {}
        if part not in hints:
            raise UsageError(f"{name}: no such setting{did_you_mean(name, _names(cls))}")
        hint = hints[part]
    if _is_section(hint) or name == "name":
        raise UsageError(f"{name}: no such setting{did_you_mean(name + '.', _names(cls))}")
    return hint


def _is_section(hint: Any) -> TypeGuard[type[Declaration]]:
    return dataclasses.is_dataclass(hint)


def _names(cls: type, prefix: str = "") -> list[str]:
    names = []
    for name, hint in get_type_hints(cls).items():
        if _is_section(hint):
            names += _names(hint, f"{prefix}{name}.")
        elif prefix:
            names.append(prefix + name)
    return names


def _replace(config: T, tree: Mapping[str, Any]) -> T:
    changes = {}
    for name, value in tree.items():
        child = getattr(config, name)
        changes[name] = _replace(child, value) if _is_section(type(child)) else value
    return dataclasses.replace(config, **changes)


def _build(cls: type[T], record: Mapping[str, Any], prefix: str) -> T:
    hints = get_type_hints(cls, include_extras=True)
    for name in record:
        if name not in hints:
            raise UsageError(f"{prefix}{name}: no such setting in this version{did_you_mean(name, hints)}")
    values = {}
    for field in dataclasses.fields(cls):
        name, hint = field.name, hints[field.name]
        if name in record and _is_section(hint):
            values[name] = _build(hint, record[name], f"{prefix}{name}.")
        elif name in record:
            values[name] = convert(record[name], hint, prefix + name)
        elif field.default is field.default_factory is dataclasses.MISSING:
            # The default of a new setting must match the behaviour of older versions.
            raise UsageError(f"{prefix}{name}: missing from the record")
    return cls(**values)


def _a(hint: type) -> str:
    return {int: "an integer", float: "a number", str: "a text"}[hint]
