"""Tab completion of experiments, sweeps, settings and their values, and tasks. Imports no JAX."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_type_hints

import typer

import experiments as registered
from launch.shell.meanings import choices, meanings
from research.config import Experiment, Sweep
from research.config.names import TASKS
from research.config.settings import flatten, hint_of
from research.config.values import format_value

Items = list[tuple[str, str]]  # (text, its help)


def experiments(incomplete: str) -> Items:
    return _described(registered.names(), incomplete)


def sweeps(incomplete: str) -> Items:
    return _described([*registered.sweep_names(), *registered.names()], incomplete)


def runs_and_experiments(incomplete: str) -> Items:
    return [*_described(registered.names(), incomplete), *directories(incomplete)]


def directories(incomplete: str) -> Items:
    """Folders with the typed prefix."""
    parent, _, start = incomplete.rpartition("/")
    try:
        found = sorted(path for path in Path(f"{parent}/" if parent or "/" in incomplete else ".").iterdir())
    except OSError:
        return []
    prefix = f"{parent}/" if "/" in incomplete else ""
    return [(f"{prefix}{path.name}", "") for path in found if path.is_dir() and path.name.startswith(start)]


def settings(ctx: typer.Context, incomplete: str) -> Items:
    """SETTING=VALUE: names, then the values that a setting lists, or the experiment's value.

    bash splits words at `=`, so there the name is a separate, previous word.
    """
    typed = [word for word in ctx.params.get("overrides") or [] if word != "="]
    if typed and typed[-1] in meanings():
        return [(value, help) for value, help in _values(ctx, typed[-1]) if value.startswith(incomplete)]
    name, equals, start = incomplete.partition("=")
    if equals:
        return [(f"{name}={value}", help) for value, help in _values(ctx, name) if value.startswith(start)]
    matching = [key for key in meanings() if key.startswith(incomplete)]
    found = [(f"{key}=", meanings()[key].meaning) for key in matching]
    if len(matching) == 1:  # several candidates, so that the shell adds no space after =
        found += [(f"{matching[0]}={value}", help) for value, help in _values(ctx, matching[0])]
    return found


def setting_names(incomplete: str) -> Items:
    """Settings and sections."""
    sections = {key.rpartition(".")[0]: f"all settings of {key.rpartition('.')[0]}" for key in meanings()}
    known = sections | {key: meaning.meaning for key, meaning in meanings().items()}
    return [(key, help) for key, help in known.items() if key.startswith(incomplete)]


def swept(incomplete: str) -> Items:
    return [(f"{key}=", meaning.meaning) for key, meaning in meanings().items() if key.startswith(incomplete)]


def tasks(incomplete: str) -> Items:
    """Tasks of `lineage evaluate`, possibly several, comma-separated."""
    before, comma, start = incomplete.rpartition(",")
    names = (*TASKS, "validation", "answers", "squad", "harness:")
    return [(f"{before}{comma}{name}", "") for name in names if name.startswith(start)]


def one_of(*values: str):
    """A function that offers `values`."""
    return lambda incomplete: [(value, "") for value in values if value.startswith(incomplete)]


def of_sweep(name: str):
    """A function that offers the values that a sweep's own setting lists."""
    return one_of(*choices(get_type_hints(Sweep, include_extras=True)[name]))


def _described(names: Iterable[str], incomplete: str) -> Items:
    return [
        (name, registered.describe(name).partition("\n")[0]) for name in names if name.startswith(incomplete)
    ]


def _values(ctx: typer.Context, name: str) -> Iterator[tuple[str, str]]:
    if name not in meanings():
        return
    declared = _declared(str(ctx.params.get("name") or ""))
    value = None if declared is None else format_value(flatten(declared).get(name))
    listed = choices(hint_of(name))
    for text in dict.fromkeys(listed or filter(None, [value])):
        yield text, "as declared" if text == value else ""


def _declared(name: str) -> Experiment | None:
    if name in registered.names():
        return registered.get(name)
    return registered.get_sweep(name).base if name in registered.sweep_names() else None
