"""Measurements of one's own at every evaluation."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from research.config.names import EVALUATORS
from research.config.settings import override
from research.errors import UsageError
from research.models.parameters import by_path
from research.runs.state import initial_state
from research.training.evaluating.evaluate_run import evaluate_run
from research.training.evaluating.evaluators import Evaluator
from research.training.loop import train
from tests.training.tiny import final_arrays, quickstart, timeless

pytestmark = pytest.mark.usefixtures("compiled_in_haste")


class Tokens(Evaluator):
    """How many targets the split has, and the mean logit, by the model itself."""

    metrics = ("targets", "mean_logit")

    def measure(self, model, batches):
        targets = sum(batch["weights"].sum() for batch in batches())
        first = next(iter(batches()))["tokens"]
        return {"targets": targets, "mean_logit": model(jnp.asarray(first)).mean()}


class Size(Evaluator):
    metrics = ("size",)

    def measure(self, model, batches):
        return {"size": sum(leaf.size for leaf in by_path(model).values())}


@pytest.fixture(autouse=True)
def registered(registries):
    EVALUATORS.register("tokens")(Tokens)
    EVALUATORS.register("size")(Size)


def declared(folder, *names, **changes):
    settings = {"run.steps": 4, "run.evaluate_every": 2, "run.checkpoint_every": 2, "run.sample": 0}
    return override(quickstart(folder / "text.txt"), settings | {"run.evaluators": names} | changes)


def rows_of(directory):
    rows = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["split"] == "validation"]


def test_their_numbers_are_in_every_validation_row_and_change_nothing(tmp_path):
    plain, measured = tmp_path / "plain", tmp_path / "measured"
    train(declared(tmp_path), plain, lambda line: None)
    train(declared(tmp_path, "tokens", "parameter_rms"), measured, lambda line: None)
    rows = rows_of(measured)
    assert [row["step"] for row in rows] == [0, 2, 4]
    model = initial_state(declared(tmp_path)).model
    expected = {f"rms_{path.replace('/', '_')}": leaf for path, leaf in by_path(model).items()}
    for name, leaf in expected.items():
        root = float(np.sqrt(np.square(np.asarray(leaf, np.float64)).mean()))
        assert rows[0][name] == pytest.approx(root, rel=1e-4)
        assert name.endswith("bias") or rows[2][name] != rows[0][name]
    names = {"targets", "mean_logit", *expected}
    assert len({row["targets"] for row in rows}) == 1 and rows[0]["targets"] > 0
    assert evaluate_run(measured, None, lambda line: None) == rows[2]
    without = [{key: value for key, value in row.items() if key not in names} for row in timeless(measured)]
    assert without == timeless(plain)
    experiment = declared(tmp_path)
    for name, array in final_arrays(experiment, plain).items():
        np.testing.assert_array_equal(array, final_arrays(experiment, measured)[name])


def test_a_run_ends_and_keeps_its_best_by_such_a_number(tmp_path):
    changes = {"run.stop_at": "size>10", "run.keep_best": "mean_logit"}
    done = train(declared(tmp_path, "tokens", "size", **changes), tmp_path / "run", lambda line: None)
    assert done.step == 2 and done.finished


@pytest.mark.parametrize(
    "names, changes, expected",
    [
        (("size",), {"run.stop_at": "sise>1"}, "sise: not a number of a validation row; did you mean size"),
        (("lost",), {}, "run.evaluators=lost: loss is measured anyway"),
        (("size", "twice"), {}, "run.evaluators: size and twice both measure size"),
        (("spaced",), {}, "run.evaluators=spaced: 'a b': expected letters, digits and _"),
        (("other",), {}, "run.evaluators=other: measured b; expected a"),
        (("array",), {}, r"run.evaluators=array: a is array\(.*; expected a number"),
        (("function",), {}, "run.evaluators=function: .*; expected a class derived from"),
    ],
)
def test_what_does_not_fit_is_refused(names, changes, expected, tmp_path):
    def register(name, metrics, found):
        members = {"metrics": metrics, "measure": lambda self, model, batches: found}
        EVALUATORS.register(name)(type(name, (Evaluator,), members))

    register("lost", ("loss",), {"loss": 1.0})
    register("twice", ("size",), {"size": 1.0})
    register("spaced", ("a b",), {"a b": 1.0})
    register("other", ("a",), {"b": 1.0})
    register("array", ("a",), {"a": np.ones(3)})
    EVALUATORS.register("function")(lambda model: {})
    with pytest.raises(UsageError, match=expected):
        train(declared(tmp_path, *names, **changes), tmp_path / "run", lambda line: None)
