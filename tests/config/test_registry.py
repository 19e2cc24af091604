"""Names of settings: open to other packages, checked alike where they are declared and read."""

import dataclasses
import sys
from functools import partial
from types import ModuleType
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

import experiments
from research.config import Experiment
from research.config.registry import Registry, UnknownName
from research.config.settings import flatten, from_json, override, to_json
from research.errors import UsageError

QUICKSTART = experiments.get("quickstart")


def registered_settings(cls: type = Experiment, prefix: str = "") -> dict[str, Registry]:
    """The dotted names of the settings whose values are registered."""
    found = {}
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            found |= registered_settings(hint, f"{prefix}{name}.")
        elif get_origin(hint) is Annotated:
            (found[prefix + name],) = get_args(hint)[1:]
    return found


SETTINGS = registered_settings()


def test_the_settings_that_the_issue_names_are_registered():
    expected = {"model.family", "model.activation", "objective.name", "optimizer.name", "optimizer.rate.name"}
    assert SETTINGS.keys() >= expected
    assert all(registry.setting == name for name, registry in SETTINGS.items())


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_unknown_name_is_refused_alike_when_declared_and_when_read(setting):
    default = flatten(QUICKSTART)[setting]
    with pytest.raises(UnknownName) as declared:
        override(QUICKSTART, {setting: f"{default}x"})
    record = to_json(QUICKSTART)
    *sections, leaf = setting.split(".")
    section = record
    for name in sections:
        section = section[name]
    section[leaf] = f"{default}x"
    with pytest.raises(UnknownName) as read:
        from_json(record)
    assert str(declared.value) == str(read.value)
    assert f"{setting}={default}x: not known; did you mean" in str(read.value) and default in str(read.value)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_name_of_another_package_is_a_value_like_the_others(setting, registries):
    registry = SETTINGS[setting]
    registry.register("theirs")(lambda *_: None)
    assert "theirs" in registry and registry.names()[-1] == "theirs"
    registry.check("theirs")


def test_a_definition_may_be_loaded_again_but_a_name_is_not_given_twice():
    registry = Registry("room.part", "built_in")

    def part():
        return 1

    def other():
        return 2

    assert registry.register("part")(part) is part and registry.register("part")(part) is part
    with pytest.raises(UsageError, match=rf"room\.part=part: already registered by {__name__}; choose ano"):
        registry.register("part")(other)
    with pytest.raises(UsageError, match=r"room\.part=built_in: already registered by research"):
        registry.register("built_in")(other)  # though its own room has not been imported yet
    assert registry["part"] is part and list(registry) == ["built_in", "part"]


def test_a_cell_may_run_again_and_compiled_functions_are_forgotten(monkeypatch):
    """A record, a partial, an object: as often as you like. Another definition, in a session alone."""
    forgotten = []
    monkeypatch.setattr(Registry, "on_change", [lambda: forgotten.append(1)])
    registry = Registry("room.part")

    def cell():
        def part(x):
            return x

        class Part:
            def __call__(self, x):
                return x

        return part, partial(part, x=1), partial(partial(part), x=1), Part()

    for number, entry in enumerate(cell()):
        registry.register(f"part_{number}")(entry)
        registry.register(f"part_{number}")(entry)
    assert not forgotten
    for number, entry in enumerate(cell()):
        registry.register(f"part_{number}")(entry)
        assert registry[f"part_{number}"] is entry and len(forgotten) == number + 1

    def other(x):
        return -x

    monkeypatch.setattr(sys, "modules", sys.modules | {"__main__": ModuleType("__main__")})
    with pytest.raises(UsageError, match="already registered"):
        registry.register("part_0")(other)
    part = cell()[0]
    part.__module__ = other.__module__ = "__main__"
    registry.register("typed")(part)
    assert registry.register("typed")(other) is registry["typed"] is other
    sys.modules["__main__"].__file__ = "script.py"
    with pytest.raises(UsageError, match="already registered by __main__"):
        registry.register("typed")(part)


def test_an_experiment_is_printed_as_the_code_that_makes_it():
    """Without defaults: a line for each section, not one of two thousand letters."""
    from research import config
    from research.config.sections import data, model, optimizer, run

    names = {
        name: value for part in (config, data, model, optimizer, run) for name, value in vars(part).items()
    }
    for name in experiments.names():
        declared = experiments.get(name)
        assert eval(repr(declared), names) == declared
        assert "log_every" in repr(override(declared, {"run.log_every": 3}))
    assert "dropout" not in repr(QUICKSTART) and "context=" in repr(QUICKSTART)
