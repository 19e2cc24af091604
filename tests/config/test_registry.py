"""Names of settings: open to other packages, checked alike where they are declared and read."""

import dataclasses
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
