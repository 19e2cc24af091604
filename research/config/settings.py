"""Declarations as trees of named settings: set, listed, compared, kept as JSON. Standard library only."""

import dataclasses
import functools
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, ClassVar, Protocol, TypeGuard, TypeVar, get_type_hints

from research.config import Experiment, Model, own
from research.config.values import convert
from research.errors import UsageError, did_you_mean

FORMAT = 1  # of experiment.json; a reader refuses other formats


class Declaration(Protocol):
    """A dataclass of settings."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


T = TypeVar("T", bound=Declaration)


def override(config: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """Sets dotted names in `config`, e.g. {"optimizer.rate.peak": "1e-3"}; texts are converted.

    All changes are applied before any is validated, so their order does not matter. Another name has the
    defaults of its own settings. Raises UsageError for an unknown name or a value of the wrong type.
    """
    values = {name: typed(config, name, value) for name, value in changes.items()}
    tree: dict = {}
    for name, value in values.items():
        if own.split(name) is None:
            _set(tree, name, value)
    for place, registry in own.PLACES.items():
        given = {found[1]: value for name, value in values.items() if (found := own.split(name, place))}
        if given or registry.setting in values:
            chosen = values.get(registry.setting, attrgetter(registry.setting)(config))
            _set(tree, place, own.changed(registry, chosen, attrgetter(place)(config), given))
    return _replace(config, tree)


def typed(config: Experiment, name: str, value: Any) -> Any:
    """Converts `value` to the type of the setting `name`, without checks against other settings."""
    return convert(value, hint_of(name, config), name)


def parse_assignments(texts: list[str]) -> dict[str, str]:
    """['a.b=v', …] → {'a.b': 'v', …}."""
    changes = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{text}: expected a.b=value")
        changes[name.strip()] = value
    return changes


def to_json(config: Experiment) -> dict:
    """A JSON object that `from_json` turns back into an equal experiment."""
    return {"format": FORMAT} | _without_empty(dataclasses.asdict(config))


def from_json(record: Mapping[str, Any]) -> Experiment:
    """Raises UsageError for another format, an unknown field, or a missing one that has no default."""
    if record.get("format") != FORMAT:
        raise UsageError(f"the record has format {record.get('format')}; this version reads format {FORMAT}")
    kept = {k: v for k, v in record.items() if k != "format"}
    parallel = kept.get("parallel", {})
    # Earlier versions accepted any number of devices and used one.
    if parallel.get("compile") == "jit" and parallel.get("data") != 1:
        kept["parallel"] = parallel | {"data": -1}
    return _build(Experiment, kept, "", kept)


def model_to_json(model: Model) -> dict:
    """As `to_json`, of the section `model` alone."""
    return _without_empty(dataclasses.asdict(model))


def model_from_json(record: Mapping[str, Any]) -> Model:
    """As `from_json`, of the section `model` alone."""
    return _build(Model, record, "model.", {"model": record})


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """{'model.family': 'gpt2', …} in the order of declaration."""
    flat = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        name = f"{prefix}{f.name}"
        flat |= flatten(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return flat


def differences(old: Experiment, new: Experiment) -> dict[str, tuple[Any, Any]]:
    """{'run.steps': (100, 200), …}: the settings whose values differ; None for one that is missing."""
    before, after = flatten(old), flatten(new)
    pairs = {name: (before.get(name), after.get(name)) for name in before | after}
    return {name: (one, other) for name, (one, other) in pairs.items() if one != other}


def hint_of(name: str, config: Experiment | None = None) -> Any:
    """The type of a setting; of a part's own setting, as the part that `config` chooses declares it.

    Raises UsageError, with the nearest names, if there is no such setting.
    """
    hint: Any = Experiment
    if (found := own.split(name)) is not None:
        registry = own.PLACES[found[0]]
        chosen = "" if config is None else attrgetter(registry.setting)(config)
        hint = own.hint_of(registry, chosen, found[1])
        if hint is None:
            raise UsageError(f"{name}: no such setting{did_you_mean(name, own.all_names())}")
        return hint
    for part in name.split("."):
        hints = get_type_hints(hint, include_extras=True) if _is_section(hint) else {}
        if part not in hints:
            raise UsageError(f"{name}: no such setting{did_you_mean(name, names())}")
        hint = hints[part]
    if _is_section(hint) or name == "name" or name in own.PLACES:
        raise UsageError(f"{name}: no such setting{did_you_mean(name + '.', names())}")
    return hint


def names(cls: type = Experiment, prefix: str = "") -> list[str]:
    """The dotted names of all settings, those that packages declare included."""
    found = []
    for name, hint in get_type_hints(cls).items():
        if _is_section(hint):
            found += names(hint, f"{prefix}{name}.")
        elif prefix and prefix + name not in own.PLACES:
            found.append(prefix + name)
    return found if prefix else found + own.all_names()


def _is_section(hint: Any) -> TypeGuard[type[Declaration]]:
    return dataclasses.is_dataclass(hint)


def _set(tree: dict, name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = value


def _replace(config: T, tree: Mapping[str, Any]) -> T:
    changes = {}
    for name, value in tree.items():
        child = getattr(config, name)
        changes[name] = _replace(child, value) if isinstance(value, dict) else value
    return dataclasses.replace(config, **changes)


def _build(cls: type[T], record: Mapping[str, Any], prefix: str, whole: Mapping[str, Any]) -> T:
    hints = get_type_hints(cls, include_extras=True)
    for name in record:
        if name not in hints:
            raise UsageError(f"{prefix}{name}: no such setting in this version{did_you_mean(name, hints)}")
    values = {}
    for field in dataclasses.fields(cls):
        name, hint = field.name, hints[field.name]
        if name not in record:
            if field.default is field.default_factory is dataclasses.MISSING:
                # The default of a new setting must match the behaviour of older versions.
                raise UsageError(f"{prefix}{name}: missing from the record")
        elif _is_section(hint):
            values[name] = _build(hint, record[name], f"{prefix}{name}.", whole)
        elif (registry := own.PLACES.get(prefix + name)) is not None:
            *sections, chooser = registry.setting.split(".")
            chosen = functools.reduce(lambda tree, part: tree[part], sections, whole).get(chooser, "")
            values[name] = own.changed(registry, chosen, own.NONE, record[name])
        else:
            values[name] = convert(record[name], hint, prefix + name)
    return cls(**values)


def _without_empty(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Without the places of settings that no package declares."""
    kept = {name: _without_empty(value) if isinstance(value, dict) else value for name, value in tree.items()}
    return {name: value for name, value in kept.items() if value != {}}
