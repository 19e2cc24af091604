"""Settings that a package declares for a name that it registers. Standard library only.

    @dataclass(frozen=True)
    class Momentum:
        beta: float = 0.9  # decay of the running mean [share; from 0 to below 1]

    @OPTIMIZERS.register("sign_momentum", settings=Momentum)
    def sign_momentum(config, rate): ...  # reads config.own.beta

The section that chooses the name holds them: optimizer.own.beta; for a part of the model,
model.own.positions.window.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_type_hints

from research.config import names
from research.config.registry import Registry
from research.config.values import convert
from research.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class NoSettings:
    """Of a name that declares no settings of its own."""


NONE = NoSettings()


def _place(registry: Registry) -> str:
    section, _, field = registry.setting.rpartition(".")
    return f"{section}.own" if field == "name" else f"{section}.own.{field}"


PLACES: dict[str, Registry] = {
    _place(registry): registry
    for registry in vars(names).values()
    if isinstance(registry, Registry) and registry.own_settings
}


def settled(registry: Registry, name: str, own: Any) -> Any:
    """`own` with values of the types that `name` declares; its defaults for NONE.

    Raises UsageError for settings of another name, and for a value of the wrong type.
    """
    place, declared = _place(registry), registry.settings(name)
    if declared is None:
        if own != NONE:
            given = type(own).__name__
            raise UsageError(f"{place}={given}(…): {registry.setting}={name} has no settings of its own")
        return NONE
    if own == NONE:
        own = declared()
    if not isinstance(own, declared):
        # A notebook's cell that runs again defines an equal class anew.
        if {each.name for each in fields(own)} != {each.name for each in fields(declared)}:
            expected = f"expected {declared.__name__}(…), as registered for {registry.setting}={name}"
            raise UsageError(f"{place}={type(own).__name__}(…): {expected}")
        own = declared(**asdict(own))
    hints = get_type_hints(declared, include_extras=True)
    values = {key: _converted(getattr(own, key), hint, f"{place}.{key}") for key, hint in hints.items()}
    return _made(place, own, values)


def _converted(value: Any, hint: Any, name: str) -> Any:
    try:
        return convert(value, hint, name)
    except (KeyError, ValueError):
        raise UsageError(
            f"{name}: {getattr(hint, '__name__', hint)} is no type of a setting; expected bool, int, float, "
            "str, a Literal, one of these or None, or a tuple of one of these"
        ) from None


def changed(registry: Registry, name: str, own: Any, values: Mapping[str, Any]) -> Any:
    """`own`, or the defaults if it belongs to another name, with some values replaced."""
    place, declared = _place(registry), registry.settings(name)
    known = [] if declared is None else [each.name for each in fields(declared)]
    for key in values:
        if key not in known:
            of = f"{registry.setting}={name}"
            if declared is None:
                raise UsageError(f"{place}.{key}: {of} has no settings of its own")
            raise UsageError(f"{place}.{key}: no such setting of {of}{did_you_mean(key, known)}")
    if declared is None:
        return NONE
    return _made(place, own if isinstance(own, declared) else declared(), values)


def hint_of(registry: Registry, name: str, key: str) -> Any:
    """The type of a setting of `name`, or else of another name that declares `key`; None if none does."""
    for each in (name, *registry.names()):
        declared = registry.settings(each)
        if declared is not None and key in (hints := get_type_hints(declared, include_extras=True)):
            return hints[key]
    return None


def split(name: str, expected: str | None = None) -> tuple[str, str] | None:
    """'optimizer.own.beta' → ('optimizer.own', 'beta'); None for other settings, or in another place."""
    place, _, key = name.rpartition(".")
    return (place, key) if place in PLACES and expected in (None, place) else None


def all_names() -> list[str]:
    """Dotted names of all settings that packages declare."""
    found = [
        f"{place}.{each.name}"
        for place, registry in PLACES.items()
        for name in registry.names()
        if (declared := registry.settings(name)) is not None
        for each in fields(declared)
    ]
    return list(dict.fromkeys(found))


def _made(place: str, own: Any, values: Mapping[str, Any]) -> Any:
    try:
        return replace(own, **values)
    except ValueError as error:  # of the class's own checks
        given = " ".join(f"{place}.{name}={value}" for name, value in values.items())
        raise UsageError(f"{given}: {error}") from None
