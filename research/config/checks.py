"""Checks that several sections share. Each raises UsageError with the setting's dotted name."""

from functools import lru_cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from research.config.registry import Registry
from research.errors import UsageError, did_you_mean


def positive(section: str, config: Any, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise UsageError(f"{section}.{name}={getattr(config, name)}: expected more than 0")


def fraction(section: str, config: Any, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise UsageError(f"{section}.{name}={getattr(config, name)}: expected from 0 to below 1")


def choices(section: str, config: Any) -> None:
    """Check every field whose type lists its values."""
    for name, hint in _listed(type(config)):
        choice(getattr(config, name), hint, f"{section}.{name}")


def choice(value: Any, hint: Any, name: str) -> None:
    """Check a value against its type: a Literal, text annotated with a Registry, or a tuple of them."""
    if get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            raise UsageError(f"{name}={value}: expected a tuple, such as ({value!r},)")
        for item in value:
            choice(item, get_args(hint)[0], name)
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise UsageError(f"{name}={value}: not known{did_you_mean(str(value), get_args(hint))}")
    if get_origin(hint) is Annotated:
        for registry in get_args(hint)[1:]:
            if isinstance(registry, Registry):
                registry.check(value, name)


@lru_cache
def _listed(cls: type) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        (name, hint) for name, hint in hints.items() if get_origin(hint) in (Literal, Annotated, tuple)
    )
