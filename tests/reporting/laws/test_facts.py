"""Runs to points, points to a law with warnings, and what is refused in one line."""

import numpy as np
import pytest

import experiments
from research.bench.cost import flops_a_token
from research.config.settings import override
from research.errors import UsageError
from research.models.parameters import components
from research.reporting.laws.facts import law_facts, laws_of, sizes_of, target
from research.reporting.laws.lines import law_lines
from research.reporting.laws.points import SIZES, Point, points
from research.reporting.runs import runs_in
from tests.reporting import made


@pytest.mark.parametrize(
    "name, freeze", [("quickstart", None), ("quickstart", "embeddings"), ("bert_tiny_sst2", None)]
)
def test_sizes_are_counted_as_elsewhere(name, freeze, tmp_path):
    experiment = override(experiments.get(name), {"optimizer.freeze": freeze})
    made.train(experiment, tmp_path / "run", until=2)
    (run,) = runs_in([tmp_path / "run"])
    trained = SIZES["tokens"](run)
    assert SIZES["flops"](run) == flops_a_token(experiment) * trained
    assert SIZES["parameters"](run) == sum(part.count for part in components(experiment.model))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Losses of 3.09 + 16 / width at the best rate; one run is cut short."""
    folder = tmp_path_factory.mktemp("widths")
    for width in (16, 32, 64, 128):
        for peak in (3e-3, 1e-2):
            changes = {"model__width": width, "optimizer__rate__peak": peak}
            made.train(made.experiment(**changes), folder / f"w{width}_{peak}")
    made.train(made.experiment(model__width=32, run__seed=1), folder / "seed")
    made.train(made.experiment(model__width=256), folder / "cut", until=30)
    return folder


def test_the_best_settings_of_each_size_count_with_all_their_seeds(runs):
    found, held_out = points(runs_in([runs]), "power", ["width"])
    assert not held_out and [point.runs for point in found] == [
        ("w16_0.003",),
        ("seed", "w32_0.003"),
        ("w64_0.003",),
        ("w128_0.003",),
    ]


def test_jax_is_not_imported():
    import subprocess
    import sys

    code = "import sys, research.reporting.laws.facts; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda runs: sizes_of("zipf", None), "--law zipf: no such law; expected one of power, chinchilla"),
        (lambda runs: sizes_of("power", "depth"), "--over depth: no such size; expected one of parameters"),
        (
            lambda runs: sizes_of("chinchilla", "width"),
            "--over width: --law chinchilla is over parameters and",
        ),
        (lambda runs: target("1e9", ("parameters", "tokens")), "--predict 1e9: expected PARAMETERS,TOKENS"),
        (lambda runs: target("-3", ("width",)), "--predict -3: expected WIDTH"),
        (lambda runs: laws_of([runs], "power", "tokens", [], "loss", 20), "--law power: 1 different tokens"),
        (
            lambda runs: laws_of([runs], "chinchilla", None, [], "loss", 20),
            "4 different parameters and tokens",
        ),
        (lambda runs: laws_of([runs], "power", "width", [], "accuracy", 20), "0 different width among"),
        (lambda runs: laws_of([runs], "power", "width", [], "loss", 3), "--resamples 3: expected 20 or more"),
        (lambda runs: laws_of([runs], "power", "width", [], "loss", 20, -1), "--hold-out -1: expected 0 or"),
        (
            lambda runs: laws_of([runs], "power", "width", [], "loss", 20, 1),
            "3 different width among the finished of 10 runs, beside 1 held out; expected at least 4",
        ),
    ],
)
def test_what_cannot_be_fitted_is_one_line(runs, call, message):
    with pytest.raises(UsageError) as refused:
        call(runs)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_prediction_inside_the_measured_range_has_no_warning():
    measured = [
        Point((width,), (2 + 30 / width,), (str(width),)) for width in (16.0, 32.0, 64.0, 128.0, 256.0)
    ]
    inside, outside = law_facts("power", ["width"], measured, [(100.0,), (4.0,)], 20)["predictions"]
    assert inside["warning"] == "" and inside["beyond"] == 1
    assert "width 4 is 4 times beyond the smallest measured, 16" in outside["warning"]
    np.testing.assert_allclose(inside["loss"], 2.3, rtol=1e-4)


def test_chinchilla_gives_the_best_split_of_operations():
    law = lambda N, D: 1.69 + 406.4 / N**0.34 + 410.7 / D**0.28  # noqa: E731
    sizes = [(N, D) for N in (1e7, 1e8, 1e9) for D in (1e9, 1e10, 1e11)]
    found = law_facts(
        "chinchilla", ["parameters", "tokens"], [Point(s, (law(*s),), ("r",)) for s in sizes], [], 20
    )
    np.testing.assert_allclose(found["parameters"]["b/(a+b)"]["value"], 0.28 / 0.62, rtol=1e-2)
    assert len(found["curves"]) == 3 and found["formula"] == "L = E + A / N^a + B / D^b"


def test_sizes_that_are_held_out_are_predicted_and_compared():
    law = lambda N, D: 1.69 + 406.4 / N**0.34 + 410.7 / D**0.28  # noqa: E731
    sizes = [(N, D) for N in (1e7, 1e8, 1e9, 1e10) for D in (1e9, 1e10, 1e11)]
    measured = [Point(s, (law(*s),), (f"{s}",)) for s in sorted(sizes, key=np.prod)]
    fitted, held_out = measured[:8], [*measured[8:-1], measured[-1]._replace(losses=(3 * law(*sizes[-1]),))]
    found = law_facts("chinchilla", ["parameters", "tokens"], fitted, [], 20, held_out)
    *right, wrong = found["held_out"]
    assert all(abs(one["error"]) < 1e-3 and one["measured"] in one["losses"] for one in right)
    np.testing.assert_allclose(wrong["error"], 1 / 3 - 1, rtol=1e-3)
    assert wrong["within"] == 0 and "beyond" in wrong["warning"]
    lines = law_lines(found | {"metric": "loss", "given": 12})
    assert "the law is 66.67% too low" in lines[-1 - len(found["warnings"]) - 1]
    assert lines[-1 - len(found["warnings"])].startswith("held out: 4 points")
