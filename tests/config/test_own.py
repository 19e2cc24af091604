"""Settings that a package declares for the names that it registers: typed, checked, recorded."""

import operator
from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import Any, Literal

import pytest

import experiments
from launch.shell.meanings import explain
from research.config import Optimizer, Parts, Schedule, own
from research.config.hyperparameters import INPUT, split
from research.config.names import OPTIMIZERS, POSITIONS, SCHEMES
from research.config.settings import differences, flatten, from_json, names, override, to_json, typed
from research.errors import UsageError
from research.weights.architecture import others

TINY = experiments.get("gpt2_tiny")


@dataclass(frozen=True)
class Momentum:
    beta: float = 0.9  # decay of the running mean [share; from 0 to below 1]
    ends: tuple[int, ...] = (1, 2)
    kind: Literal["plain", "nesterov"] = "plain"
    cap: float | None = None

    def __post_init__(self):
        if not self.beta < 1:
            raise ValueError("expected below 1")


@dataclass(frozen=True)
class Window:
    size: int = 16


@pytest.fixture(autouse=True)
def registered(registries):
    OPTIMIZERS.register("mine", settings=Momentum)(lambda config, rate: None)
    POSITIONS.register("window", settings=Window)(lambda model: None)


def mine(**changes: Any):
    return override(TINY, {"optimizer.name": "mine"} | changes)


def test_a_name_brings_its_defaults_and_another_name_takes_them_away():
    assert mine().optimizer.own == Momentum()
    assert mine(**{"optimizer.own.beta": "0.5"}).optimizer.own == Momentum(beta=0.5)
    assert override(mine(), {"optimizer.name": "adamw"}) == TINY
    assert Optimizer(name="mine", rate=TINY.optimizer.rate).own == Momentum()
    declared = replace(TINY.optimizer, name="mine", own=Momentum(beta=0.5))
    assert override(replace(TINY, optimizer=declared), {"optimizer.own.cap": "2"}).optimizer.own == Momentum(
        beta=0.5, cap=2.0
    )
    model = replace(TINY.model, positions="window", own=Parts(positions=Window(3)))
    assert override(replace(TINY, model=model), {"model.depth": 1}).model.own.positions.size == 3


def test_values_are_converted_like_those_of_built_in_settings():
    typed_values = {"ends": "3,4", "kind": "nesterov", "cap": "none", "beta": "0"}
    settings = mine(**{f"optimizer.own.{key}": value for key, value in typed_values.items()}).optimizer.own
    assert settings == Momentum(0.0, (3, 4), "nesterov", None) and isinstance(settings.beta, float)
    assert type(Optimizer(name="mine", rate=TINY.optimizer.rate, own=Momentum(beta=0)).own.beta) is float
    assert typed(TINY, "optimizer.own.beta", "0.5") == 0.5  # of a name that another setting chooses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.own.beta": "x"}, r"optimizer\.own\.beta=x: expected a number"),
        (
            {"optimizer.own.kind": "nestrov"},
            r"optimizer\.own\.kind=nestrov: not known; did you mean nest",
        ),
        (
            {"optimizer.own.bata": "1"},
            r"optimizer\.own\.bata: no such setting; did you mean optimizer\.own",
        ),
        ({"optimizer.own.beta": "1"}, r"optimizer\.own\.beta=1\.0: expected below 1"),
        ({"optimizer.own": "1"}, r"optimizer\.own: no such setting"),
        (
            {"model.own.positions.size": "1"},
            r"positions\.size: model\.positions=learned has no settings of",
        ),
        ({"model.own.positions": "1"}, r"model\.own\.positions: no such setting"),
        (
            {"optimizer.name": "adamw", "optimizer.own.beta": "0.1"},
            r"optimizer\.own\.beta: optimizer\.name=adamw has no settings of its own",
        ),
        ({"optimizer.name": "min", "optimizer.own.beta": "0.1"}, r"optimizer\.name=min: not known"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(UsageError, match=message):
        mine(**changes)


def test_settings_of_another_class_are_refused():
    for wrong in (Window(), Window):
        with pytest.raises(UsageError, match=r"optimizer\.own=.*: expected Momentum\(…\), as registered for"):
            Optimizer(name="mine", rate=TINY.optimizer.rate, own=wrong)
    with pytest.raises(UsageError, match=r"optimizer\.rate\.own=Momentum\(…\): .*=cosine has no settings"):
        Schedule(peak=1.0, own=Momentum())
    with pytest.raises(UsageError, match=r"optimizer\.own\.cap=half: expected a number"):
        replace(mine().optimizer, own=replace(Momentum(), cap="half"))


def test_a_class_that_cannot_be_settings_is_refused_where_it_is_registered():
    @dataclass
    class Thawed:
        beta: float = 0.9

    @dataclass(frozen=True)
    class Required:
        beta: float

    for settings, message in (
        (Thawed, "frozen=True"),
        (dict, "frozen=True"),
        (Required, "beta has no default"),
    ):
        with pytest.raises(
            UsageError, match=f"optimizer.name=other: settings={settings.__name__}: .*{message}"
        ):
            OPTIMIZERS.register("other", settings=settings)(lambda: None)
    with pytest.raises(UsageError, match=r"data\.source=other: settings=Window: names of data\.source have"):
        SCHEMES.register("other", settings=Window)(lambda: None)
    assert "other" not in OPTIMIZERS and "other" not in SCHEMES


def test_a_type_that_no_setting_has_is_named():
    @dataclass(frozen=True)
    class Listed:
        sizes: list[int] = field(default_factory=list)

    @dataclass(frozen=True)
    class Either:
        size: int | str = 1

    for number, settings in enumerate((Listed, Either)):
        OPTIMIZERS.register(f"odd_{number}", settings=settings)(lambda config, rate: None)
        with pytest.raises(UsageError, match=r"optimizer\.own\.size.*is no type of a setting; expected bool"):
            override(TINY, {"optimizer.name": f"odd_{number}"})


def test_a_record_keeps_them_and_a_record_without_them_has_defaults():
    experiment = mine(
        **{"optimizer.own.ends": "5", "model.positions": "window", "model.own.positions.size": 2}
    )
    record = to_json(experiment)
    assert record["optimizer"]["own"] == {"beta": 0.9, "ends": (5,), "kind": "plain", "cap": None}
    assert record["model"]["own"] == {"positions": {"size": 2}}
    assert from_json(record) == experiment
    assert "own" not in to_json(TINY)["optimizer"] and "own" not in to_json(TINY)["model"]
    del record["optimizer"]["own"], record["model"]["own"]
    assert from_json(record) == mine(**{"model.positions": "window"})
    record["optimizer"]["own"] = {"bata": 1}
    with pytest.raises(UsageError, match=r"optimizer\.own\.bata: no such setting of optimizer\.name=mine; "):
        from_json(record)


def test_they_are_settings_among_the_others():
    flat = flatten(mine(**{"optimizer.own.beta": 0.5}))
    assert flat["optimizer.own.beta"] == 0.5 and not [name for name in flatten(TINY) if ".own" in name]
    assert {"optimizer.own.beta", "model.own.positions.size"} < {*names()}
    assert not {"optimizer.own", "model.own.positions"} & {*names()}
    assert differences(TINY, mine())["optimizer.own.beta"] == (None, 0.9)
    assert differences(mine(), TINY)["optimizer.own.beta"] == (0.9, None)


def test_the_comments_beside_them_explain_them():
    (beta,) = explain("optimizer.own.beta")
    assert beta.meaning == "Decay of the running mean (optimizer.name=mine)"
    assert (beta.unit, beta.values, beta.default) == ("share", "a number from 0 to below 1", "0.9")
    assert len(explain("optimizer.own")) == 4


def test_two_names_may_declare_the_same_setting():
    @dataclass(frozen=True)
    class Other:
        beta: int = 3  # a count

    OPTIMIZERS.register("other", settings=Other)(lambda config, rate: None)
    found = override(TINY, {"optimizer.name": "other", "optimizer.own.beta": "5"})
    assert found.optimizer.own == Other(5)
    assert mine(**{"optimizer.own.beta": "0.25"}).optimizer.own.beta == 0.25
    assert len(explain("optimizer.own.beta")) == 2


def test_a_cell_that_runs_again_defines_the_same_settings():
    before = mine(**{"optimizer.own.beta": 0.5})
    again = make_dataclass("Momentum", [(f.name, f.type, f) for f in fields(Momentum)], frozen=True)
    OPTIMIZERS.register("mine", settings=again)(OPTIMIZERS["mine"])
    assert type(replace(before.optimizer, b1=0.1).own) is again
    assert replace(before.optimizer, b1=0.1).own.beta == 0.5


def test_weights_decide_the_settings_of_their_parts():
    theirs = override(TINY, {"model.positions": "window", "model.own.positions.size": 5}).model
    both = {"model.positions": "window", "model.own.positions.size": 5}
    assert others(theirs, flatten(TINY)) == both
    assert others(theirs, both) == {}
    assert others(theirs, both | {"model.own.positions.size": 6}) == {"model.own.positions.size": 5}
    assert override(TINY, others(theirs, flatten(TINY))).model == theirs


def test_real_numbers_are_inputs_of_a_shared_program():
    experiment = mine(**{"optimizer.own.beta": 0.5, "model.positions": "window"})
    shape, values = split(experiment)
    assert values["optimizer.own.beta"] == 0.5 and shape.optimizer.own.beta is INPUT
    assert shape == split(mine(**{"optimizer.own.beta": 0.25, "model.positions": "window"}))[0]
    assert shape.optimizer.own.cap is None and shape.model.own.positions.size == 16


def test_every_place_is_a_field():
    flat = {place: operator.attrgetter(place)(TINY) for place in own.PLACES}
    assert len(flat) == 8 and set(flat.values()) == {own.NONE}
