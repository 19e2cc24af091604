"""One name, one experiment or one sweep."""

import inspect
from collections.abc import Callable
from dataclasses import replace

from research.config import Experiment, Sweep
from research.errors import UsageError, did_you_mean

_DECLARATIONS: dict[str, Callable[[], Experiment]] = {}
_SWEEPS: dict[str, Callable[[], Sweep]] = {}


def experiment(declare: Callable[[], Experiment]) -> Callable[[], Experiment]:
    """Registers a function that returns an experiment, under the function's name."""
    return _register(_DECLARATIONS, declare)


def sweep(declare: Callable[[], Sweep]) -> Callable[[], Sweep]:
    """Registers a function that returns a sweep, under the function's name."""
    return _register(_SWEEPS, declare)


def names() -> list[str]:
    """Of the experiments."""
    return sorted(_DECLARATIONS)


def sweep_names() -> list[str]:
    return sorted(_SWEEPS)


def get(name: str) -> Experiment:
    """Raises UsageError with the nearest names for one that is not registered."""
    if name in _SWEEPS:
        raise UsageError(f"{name}: a sweep, not an experiment; it goes with lineage show and lineage sweep")
    if name not in _DECLARATIONS:
        raise UsageError(f"{name}: no such experiment{did_you_mean(name, _DECLARATIONS)}")
    return replace(_DECLARATIONS[name](), name=name)


def get_sweep(name: str) -> Sweep:
    """Raises UsageError with the nearest names, of sweeps and experiments, for one that is not registered."""
    if name not in _SWEEPS:
        raise UsageError(f"{name}: no such sweep{did_you_mean(name, [*_SWEEPS, *_DECLARATIONS])}")
    return replace(_SWEEPS[name](), name=name)


def describe(name: str) -> str:
    """The declaration's docstring: source, cost, expected number; of a sweep, its question."""
    return inspect.getdoc((_DECLARATIONS | _SWEEPS)[name]) or ""


def _register(kind: dict[str, Callable], declare: Callable) -> Callable:
    name = declare.__name__
    if name in _DECLARATIONS or name in _SWEEPS:
        raise ValueError(f"two declarations are called {name}")
    kind[name] = declare
    return declare
