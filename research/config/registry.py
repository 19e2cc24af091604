"""Names that a setting may take, open to other packages. Standard library only.

A room registers its implementations under the names declared here; another package adds its own:

    from research.config.names import OPTIMIZERS

    @OPTIMIZERS.register("sign_sgd")
    def sign_sgd(config, rate): ...

A name is checked when a declaration is made and, by the same code, when a record is read.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from research.errors import UsageError, did_you_mean

T = TypeVar("T")


class UnknownName(UsageError):
    """A name that is not registered."""


class Registry(Generic[T]):
    """Name → implementation, for one setting.

    `builtin` are the names that this project implements. They are declared here, so that checking a name
    imports no implementation, and registered by the room that implements them when that is imported. With
    `own_settings`, other names may have settings of their own: see `research.config.own`.
    """

    every: ClassVar[list["Registry"]] = []
    on_change: ClassVar[list[Callable[[], object]]] = []  # called when a setting's name gets another entry

    def __init__(self, setting: str, *builtin: str, own_settings: bool = False):
        self.setting = setting
        self.own_settings = own_settings
        self._builtin = builtin
        self._entries: dict[str, T] = {}
        self._settings: dict[str, type] = {}
        self._files: dict[str, Path] = {}
        Registry.every.append(self)

    def register(self, name: str, settings: type | None = None) -> Callable[[T], T]:
        """Decorator that registers a function or class. Raises UsageError for a name that is taken.

        The same definition may register again, as when a notebook cell runs twice; an interactive session
        may also give its own name to another definition. `settings` is a frozen dataclass of the name's own
        settings, each with a default.
        """
        if settings is not None:
            self._check_settings(name, settings)

        def add(entry: T) -> T:
            if (owner := self._owner(name, entry)) is not None:
                raise UsageError(f"{self.setting}={name}: already registered by {owner}; choose another name")
            changed = self._entries.get(name, entry) is not entry
            self._entries[name] = entry
            self._settings.pop(name, None)
            if settings is not None:
                self._settings[name] = settings
            for forget in Registry.on_change if changed and "." in self.setting else ():
                forget()  # what was compiled with the former entry
            if file := _registering_file():
                self._files[name] = file
            return entry

        return add

    def declare(self, name: str, settings: type) -> None:
        """Declares the settings of a built-in name before the room that implements it is imported."""
        self._check_settings(name, settings)
        self._settings[name] = settings

    def settings(self, name: str) -> type[Any] | None:
        """The dataclass of a name's own settings; None if it declares none."""
        return self._settings.get(name) if name in self._entries or name in self._builtin else None

    def files(self) -> dict[str, Path]:
        """{name: the file that registered it} for names of other packages."""
        return {name: file for name, file in self._files.items() if name in self._entries}

    def names(self) -> tuple[str, ...]:
        """Built-in names first, then those of other packages, each in the order of declaration."""
        return tuple(dict.fromkeys((*self._builtin, *self._entries)))

    def is_builtin(self, name: str) -> bool:
        """Whether this project implements it, rather than another package."""
        return name in self._builtin

    def check(self, name: Any, setting: str | None = None) -> None:
        """Raise UnknownName, with the nearest names, for a name that is not registered."""
        if name not in self.names():
            hint = did_you_mean(str(name), self.names())
            raise UnknownName(f"{setting or self.setting}={name}: not known{hint}")

    def __getitem__(self, name: str) -> T:
        """Raises UnknownName for an unknown name, KeyError before its room is imported."""
        self.check(name)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _check_settings(self, name: str, settings: type) -> None:
        given = f"{self.setting}={name}: settings={getattr(settings, '__name__', settings)}"
        if not self.own_settings:
            raise UsageError(f"{given}: names of {self.setting} have no settings of their own")
        if not getattr(getattr(settings, "__dataclass_params__", None), "frozen", False):
            raise UsageError(f"{given}: expected a class with @dataclass(frozen=True)")
        for each in fields(settings):
            if each.default is each.default_factory is MISSING:
                raise UsageError(f"{given}: {each.name} has no default; expected one for every setting")

    def _owner(self, name: str, entry: T) -> str | None:
        """The module that registered `name`; None if it is free, or `entry` is the same definition."""
        known = self._entries.get(name)
        if known is not None:
            typed = _origin(known)[0] == _origin(entry)[0] == "__main__" and _is_interactive()
            return None if typed or _origin(known) == _origin(entry) else _origin(known)[0]
        # A built-in name is taken before the room that implements it is imported.
        builtin = name in self._builtin and _origin(entry)[0].partition(".")[0] != _PACKAGE
        return _PACKAGE if builtin else None


_PACKAGE = __name__.partition(".")[0]
OURS = (_PACKAGE, "experiments", "launch")


def _registering_file() -> Path | None:
    """The file of the innermost module being executed, or else of the caller; None for ours.

    A module may register its names through a helper in another file.
    """
    frame, callers = sys._getframe(2), []
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in OURS:
            callers.append(frame)
        elif frame.f_code.co_name == "<module>":
            break
        frame = frame.f_back
    modules = [caller for caller in callers if caller.f_code.co_name == "<module>"]
    for caller in [*modules, *callers][:1]:
        file = caller.f_globals.get("__file__")
        return Path(file).absolute() if file else None
    return None


def _origin(entry: Any) -> tuple[str, str]:
    """The module and name of a definition, which stay the same when its module is loaded again.

    For a record, a NamedTuple, they are those of its first function; for an object, those of its class.
    """
    if isinstance(entry, tuple):
        entry = next((part for part in entry if callable(part)), entry)
    while isinstance(entry, partial):
        entry = entry.func
    named = entry if hasattr(entry, "__qualname__") else type(entry)
    return getattr(named, "__module__", ""), named.__qualname__


def _is_interactive() -> bool:
    """Whether definitions are typed, in a notebook or at Python's prompt."""
    return not hasattr(sys.modules["__main__"], "__file__")
