"""Meaning, unit, allowed values and default of each setting, read from the comments of its declaration.

`research/config` has a comment beside each field: a sentence, and for numbers `[unit; range]` at its end.
"""

import dataclasses
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from research.config import Experiment, own
from research.config.registry import Registry
from research.config.values import format_value
from research.errors import UsageError, did_you_mean

BRACKET = re.compile(r"^(.*?)\s*\[([^;\]]+); ([^\]]+)\]$", re.DOTALL)
SAMPLE = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}


class Meaning(NamedTuple):
    """The explanation of one setting."""

    name: str
    meaning: str
    unit: str | None  # of numbers
    values: str  # that are allowed
    default: str | None  # as typed; None: experiments must declare it


def meanings() -> dict[str, Meaning]:
    """Every setting by its dotted name, in the order of declaration, then those of other packages."""
    return {meaning.name: meaning for meaning in _all()}


def _all() -> list[Meaning]:
    return [*_of_section(Experiment, ""), *_own()]


def _own() -> Iterator[Meaning]:
    """Settings that packages declare for the names that they register."""
    for place, registry in own.PLACES.items():
        for name in registry.names():
            if (declared := registry.settings(name)) is not None:
                for meaning in _of_section(declared, f"{place}."):
                    yield meaning._replace(meaning=f"{meaning.meaning} ({registry.setting}={name})".strip())


def explain(name: str) -> list[Meaning]:
    """The setting `name`, or all of a section such as optimizer.rate. Raises UsageError if unknown."""
    found = [each for each in _all() if f"{each.name}.".startswith(f"{name}.")]
    if not found:
        known = meanings()
        ends = [key for key in known if key.rpartition(".")[2] == name]
        hint = f"; did you mean {' or '.join(ends)}?" if ends else did_you_mean(name, known)
        raise UsageError(f"{name}: no such setting{hint}")
    return found


def choices(hint: Any) -> tuple[str, ...]:
    """The values that a type lists: of a Literal, a registry, a bool; empty for other types."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(value for option in get_args(hint) for value in choices(option))
    if get_origin(hint) is tuple:
        return choices(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return tuple(map(str, get_args(hint)))
    if get_origin(hint) is Annotated:
        return tuple(name for part in get_args(hint) if isinstance(part, Registry) for name in part.names())
    return {bool: ("true", "false"), type(None): ("none",)}.get(hint, ())


def comments(source: str) -> dict[str, str]:
    """{field: comment} of a class: the comment on the field's line, or else the lines right above it."""
    found: dict[str, str] = {}
    above: list[str] = []
    field, depth = None, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        text = token.string.removeprefix("#").strip()
        depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
        if token.type == tokenize.COMMENT and token.line.strip().startswith("#"):
            above.append(text)
        elif token.type == tokenize.COMMENT and field:
            found[field] = text
        elif token.type == tokenize.NAME and re.match(rf"\s+{token.string}: ", token.line) and not depth:
            field = token.string
            if above:
                found[field] = " ".join(above)
        elif token.type == tokenize.NEWLINE:
            field, above = None, []
    return found


def _of_section(cls: Any, prefix: str) -> list[Meaning]:
    hints, written = get_type_hints(cls, include_extras=True), _written(cls)
    found = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if prefix + field.name in own.PLACES:
            continue
        if dataclasses.is_dataclass(hint):
            found += _of_section(hint, f"{prefix}{field.name}.")
        elif prefix:  # an experiment's name is not a setting
            found.append(_meaning(f"{prefix}{field.name}", field, hint, written.get(field.name, "")))
    return found


@cache
def _written(cls: type) -> dict[str, str]:
    try:
        return comments(inspect.getsource(cls))
    except OSError:  # a class of a notebook, or of a file that is gone
        return {}


def _meaning(name: str, field: dataclasses.Field, hint: Any, comment: str) -> Meaning:
    match = BRACKET.match(comment)
    text, unit, span = match.groups() if match else (comment, None, None)
    factory = field.default_factory
    value = field.default if factory is dataclasses.MISSING else factory()
    default = None if value is dataclasses.MISSING else format_value(value)
    if not re.match(r"[\w.]+[.:]\w", text):  # names of settings and schemes keep their case
        text = text[:1].upper() + text[1:]
    return Meaning(name, text.removesuffix("."), unit, _values(hint, span), default)


def _values(hint: Any, span: str | None) -> str:
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    texts = []
    for option in options:
        if get_origin(option) is tuple:
            listed = ", ".join(choices(option))
            kind = "integers" if int in get_args(option) else "texts"
            texts.append((f"some of {listed}," if listed else kind) + " with commas between them")
        elif listed := choices(option):
            texts.append(", ".join(listed))
        else:
            texts.append(SAMPLE[option] + ("" if span in (None, "any") else f" {span}"))
    return ", or ".join(texts)
