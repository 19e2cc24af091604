"""Every setting is explained by the comment beside it, and the range named there is checked."""

import json
import re

import pytest

import experiments
from launch.shell.meanings import comments, explain, meanings
from research.config import own
from research.config.settings import flatten, override
from research.errors import UsageError

EVERY = list(meanings().values())
ADAPTED = override(experiments.get("quickstart"), {"model.block": "lora"})  # has settings of its own
NUMBERS = [meaning for meaning in EVERY if meaning.values.startswith(("an integer", "a number"))]


def test_every_setting_of_an_experiment_is_there():
    declared = [name for name in flatten(experiments.get("gpt2_small")) if name != "name"]
    assert list(meanings()) == [*declared, *own.all_names()]


@pytest.mark.parametrize("meaning", EVERY, ids=lambda meaning: meaning.name)
def test_every_setting_has_a_comment(meaning):
    assert len(meaning.meaning) > 10, f"{meaning.name}: its declaration in research/config has no comment"
    assert "[" not in meaning.meaning.replace("[/CONFIG][:SPLIT]", "").replace(
        "[:CONFIG[:SPLIT]]", ""
    ).replace("[@REVISION]", "")
    number = meaning in NUMBERS
    assert (meaning.unit is not None) == number, "a number has '[unit; range]' at the end of its comment"


def accepts(name: str, value: float) -> bool:
    mesh = {"parallel.compile": "sharded", "parallel.data": 1}
    try:
        override(ADAPTED, mesh | {name: value})
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("meaning", NUMBERS, ids=lambda meaning: meaning.name)
def test_the_range_is_the_one_that_is_checked(meaning):
    span = re.sub(r"^(an integer|a number) ?|, or (none|auto)$", "", meaning.values)
    declared = flatten(ADAPTED)[meaning.name]
    inside, outside = {
        "": ([-1], []),
        "above 0": ([declared if isinstance(declared, int | float) else 1], [0, -1]),
        "from 0": ([0], [-1]),
        "from 0 to below 1": ([0, 0.5], [-1, 1]),
        "from 0 to 1": ([0, 0.1], [-0.1, 1.1]),
        "above 0 to below 1": ([0.5], [0, 1]),
        "above 0 to 1": ([0.5, 1], [0, 1.1]),
        "-1 or above 0": ([-1], [0, -2]),
        "from 0 to 4294967295": ([0, 2**32 - 1], [-1, 2**32]),
    }[span]
    accepted = [value for value in [*inside, *outside] if accepts(meaning.name, value)]
    assert accepted == inside


def test_a_default_and_the_values_are_those_of_the_declaration():
    (keep,) = explain("run.keep")
    assert keep == ("run.keep", keep.meaning, "checkpoints", "an integer above 0", "2")
    assert "newest checkpoints" in keep.meaning
    (name,) = explain("optimizer.name")
    assert name.values.startswith("adamw, gpt1_adam") and name.default == "adamw"
    assert explain("run.steps")[0].default is None
    assert explain("model.hidden")[0].values == "an integer above 0, or none"
    assert [one.name for one in explain("optimizer.rate")][:2] == [
        "optimizer.rate.name",
        "optimizer.rate.peak",
    ]


def test_names_of_other_packages_are_values_too(registries):
    from research.config.names import ACTIVATIONS

    ACTIVATIONS.register("mine")(lambda x: x)
    assert "mine" in explain("model.activation")[0].values


def test_comments_are_beside_or_above():
    source = '''
class Section:
    """A section."""

    first: int  # counts
    # Two lines
    # of it [steps; any]
    second: Literal[
        "a: b",
    ] = "a"
    third: str = "# none"
    fourth: int = 0

    def method(self):
        here: int = 1  # not a field's
'''
    assert comments(source) == {
        "first": "counts",
        "second": "Two lines of it [steps; any]",
        "here": "not a field's",
    }


def test_explain_as_typed(lineage):
    status, out, _ = lineage("explain", "run.keep")
    assert status == 0 and out.splitlines()[0] == "run.keep"
    assert "  unit     checkpoints\n  values   an integer above 0\n  default  2\n" in out
    assert json.loads(lineage("explain", "run.keep", "--json")[1])[0]["default"] == "2"
    assert len(lineage("explain")[1].splitlines()) == len(EVERY)
    for typed, hint in (("keep", "did you mean run.keep?"), ("optimizer.rate.peek", "optimizer.rate.peak")):
        status, _, err = lineage("explain", typed)
        assert status == 2 and hint in err and err.count("\n") == 1
    out = lineage("show", "quickstart", "--describe")[1]
    assert re.search(r"run\.keep +2\n  Number of newest checkpoints", out)
