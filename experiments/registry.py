"""Experiments and sweeps by name. Other packages register theirs here too."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from research.config import Experiment, Sweep
from research.config.registry import Registry
from research.errors import UsageError, did_you_mean

EXPERIMENTS: Registry[Callable[[], Experiment]] = Registry("experiment")
SWEEPS: Registry[Callable[[], Sweep]] = Registry("sweep")


def experiment(declare: Callable[[], Experiment]) -> Callable[[], Experiment]:
    """Register a function that returns an experiment, under the function's name.

    Raises UsageError if an experiment or a sweep has that name already.
    """
    _refuse_name_of(SWEEPS, declare)
    return EXPERIMENTS.register(declare.__name__)(declare)


def sweep(declare: Callable[[], Sweep]) -> Callable[[], Sweep]:
    """Register a function that returns a sweep, as `experiment` does."""
    _refuse_name_of(EXPERIMENTS, declare)
    return SWEEPS.register(declare.__name__)(declare)


def names() -> list[str]:
    """The experiments' names, sorted."""
    return sorted(EXPERIMENTS)


def sweep_names() -> list[str]:
    """The sweeps' names, sorted."""
    return sorted(SWEEPS)


def get(name: str) -> Experiment:
    """The experiment `name`. Raises UsageError, with the nearest names, if it is not registered."""
    if name in SWEEPS:
        raise UsageError(f"{name}: a sweep, not an experiment; it goes with lineage show and lineage sweep")
    if name not in EXPERIMENTS and Path(name).is_dir():
        raise UsageError(
            f"{name}: a directory, not an experiment; lineage show {name}, status {name} and resume {name} "
            "take that of a run"
        )
    if name not in EXPERIMENTS:
        raise UsageError(f"{name}: no such experiment{did_you_mean(name, EXPERIMENTS)}")
    return replace(EXPERIMENTS[name](), name=name)


def get_sweep(name: str) -> Sweep:
    """The sweep `name`. Raises UsageError, with the nearest sweeps and experiments, if it is unknown."""
    if name not in SWEEPS:
        raise UsageError(f"{name}: no such sweep{did_you_mean(name, [*SWEEPS, *EXPERIMENTS])}")
    return replace(SWEEPS[name](), name=name)


def describe(name: str) -> str:
    """The declaration's docstring: source, cost and expected number of an experiment, a sweep's question."""
    return inspect.getdoc((SWEEPS if name in SWEEPS else EXPERIMENTS)[name]) or ""


def _refuse_name_of(others: Registry, declare: Callable) -> None:
    name = declare.__name__
    if name in others:
        raise UsageError(f"{name}: already registered as {others.setting}; choose another name")
