"""One name, one experiment."""

import inspect
from collections.abc import Callable
from dataclasses import replace

from research.config import Experiment
from research.errors import UsageError, near

_DECLARATIONS: dict[str, Callable[[], Experiment]] = {}


def experiment(declare: Callable[[], Experiment]) -> Callable[[], Experiment]:
    """Registers a function that returns an experiment, under the function's name."""
    name = declare.__name__
    if name in _DECLARATIONS:
        raise ValueError(f"two experiments are called {name}")
    _DECLARATIONS[name] = declare
    return declare


def names() -> list[str]:
    return sorted(_DECLARATIONS)


def get(name: str) -> Experiment:
    """Raises UsageError with the nearest names for one that is not registered."""
    if name not in _DECLARATIONS:
        raise UsageError(f"{name}: no such experiment{near(name, _DECLARATIONS)}")
    return replace(_DECLARATIONS[name](), name=name)


def describe(name: str) -> str:
    """The declaration's docstring: source, cost, expected number."""
    return inspect.getdoc(_DECLARATIONS[name]) or ""
