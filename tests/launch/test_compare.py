"""Runs over seeds: means, differences to the best, and what is not counted."""

import json
import math
import re
import subprocess
import sys

import pytest

from research.config import Sweep, space
from research.errors import Diverged, UsageError
from research.reporting.facts import facts
from research.reporting.groups.compare import compare
from research.reporting.groups.table import cells, header, notes, plus_minus
from research.runs import record
from research.runs.metrics_log import Metrics, read
from research.sweeping.record import open_sweep
from research.sweeping.worker import work
from tests.reporting import made
from tests.sweeping.pretended import at_once

PEAK = "optimizer.rate.peak"
# Two rates whose difference is small beside the spread of seeds, in pairs large beside its own; a third of
# which one run is not finite and one was stopped.
LOSSES = {
    3e-3: {0: 4.00, 1: 4.50, 2: 5.00},
    1e-3: {0: 4.10, 1: 4.62, 2: 5.11},
    1e-1: {0: 4.01, 1: float("nan"), 2: None},
}


def write(directory, loss, steps=60, every=20, **settings):
    """A run that ends at `loss`, a nat above it at every evaluation before; None: stopped at step 20."""
    experiment = made.experiment(**settings)
    record.claim(directory, experiment, {"data": ["0" * 64, "1" * 64]})
    with Metrics(directory, 0) as metrics:
        for step in range(every, (20 if loss is None else steps) + 1, every):
            clock = {"tokens": 100 * step, "seconds": step / 10, "tokens_per_second": 1000.0}
            metrics.write({"step": step, "split": "train", "loss": 5.0} | clock)
            value = 9.0 if loss is None else loss + (steps - step) / every
            metrics.write({"step": step, "split": "validation", "loss": value, "accuracy": 1 / value})
    return directory


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("groups")
    for peak, losses in LOSSES.items():
        for seed, loss in losses.items():
            write(found / f"{peak}-{seed}", loss, optimizer__rate__peak=peak, run__seed=seed)
    return found


def test_pairs_tell_apart_what_means_do_not(folder):
    found = compare([folder], ["peak"])
    best, second, third = found["lines"]
    assert [line["settings"][PEAK] for line in found["lines"]] == [3e-3, 1e-3, 1e-1]
    assert (best["mean"], best["n"], best["verdict"]) == (pytest.approx(4.5), 3, "best")
    assert best["error"] == pytest.approx(0.5 / 3**0.5) and best["difference"] is None
    apart = second["difference"]  # of 0.10, 0.12, 0.11: mean 0.11, deviation 0.01; t(0.975, 2) = 4.302653
    assert apart["paired"] and apart["n"] == 3 and apart["mean"] == pytest.approx(0.11)
    half = 4.302653 * 0.01 / 3**0.5
    assert (apart["low"], apart["high"]) == pytest.approx((0.11 - half, 0.11 + half), rel=1e-4)
    assert second["verdict"] == "differs" and apart["p_holm"] == pytest.approx(apart["p"])
    assert (third["n"], third["error"], third["left_out"]) == (1, None, {"diverged": 1, "stopped": 1})
    assert third["difference"]["low"] is None and third["verdict"] == "one seed: no interval"
    assert found["comparisons"] == 1


def test_seeds_that_do_not_match_are_compared_by_welch(folder, tmp_path):
    for seed, loss in LOSSES[1e-3].items():
        write(tmp_path / f"{seed}", loss, optimizer__rate__peak=1e-3, run__seed=seed + 7)
    second = compare([*folder.glob("0.003-*"), tmp_path], [PEAK])["lines"][1]
    assert not second["difference"]["paired"] and second["verdict"] == "cannot be told apart"


def test_a_table_says_it_in_words(folder, lineage):
    found = facts([folder])["groups"]
    assert header(found) == ["#", "peak", "mean best loss", "n", "difference to the best", "", "not counted"]
    assert cells(found)[0] == ["1", "0.003", "4.5000 ± 0.2887", "3", "", "best", ""]
    assert cells(found)[1][3:6] == ["3", "+0.1100 [+0.0852, +0.1348]", "differs"]
    status, out, _ = lineage("table", folder)
    assert status == 0 and "4.5000 ± 0.2887" in out and "1 diverged, 1 stopped" in out
    assert "paired by seed" in out and all(note in out for note in notes(found))
    status, out, _ = lineage("table", folder / "0.003-0", folder / "0.001-0")
    assert "±" not in out and "over seeds" not in out
    assert facts([folder / "0.003-0", folder / "0.001-0"])["groups"] is None
    assert plus_minus(2.0, None) == "2.0000" and plus_minus(None, None) == "–"


def test_compare_as_typed(folder, lineage):
    status, out, _ = lineage("compare", folder, "--by", "optimizer.rate.peak")
    assert status == 0 and "+0.1100 [+0.0852, +0.1348]  differs" in out
    found = json.loads(lineage("compare", folder, "--by", "peak", "--metric", "accuracy", "--json")[1])
    assert found["direction"] == "maximize" and found["lines"][0]["settings"] == {PEAK: 3e-3}
    one = lineage("compare", folder / "0.003-0", folder / "0.001-0", "--by", "peak")[1]
    assert "one seed: no interval" in one and "±" not in one and "may be chance" in one


@pytest.mark.parametrize(
    "by, more, message",
    [
        (
            "width",
            [],
            r"model\.width=128: its runs also differ in optimizer\.rate\.peak \(0\.001, 0\.003, 0\.1\)",
        ),
        ("pek", [], "--by pek: no such setting; did you mean peak"),
        ("predictions", [], r"--by predictions: several settings: data\.later"),
        ("peak", ["--metric", "los"], "--metric los: no run has it; did you mean loss"),
        ("peak", ["--metric", "steps"], "expected --target"),
        ("peak", ["--target", "loss"], "--target=loss: expected METRIC<NUMBER"),
    ],
)
def test_refusals_are_one_line(folder, lineage, by, more, message):
    status, out, err = lineage("compare", folder, "--by", by, *more)
    assert (status, out) == (2, "") and re.search(message, err) and err.count("\n") == 1


def test_settings_may_be_averaged_over_and_then_belong_to_pairs(folder):
    found = compare([*folder.glob("0.003-*"), *folder.glob("0.001-*")], ["width"], ["peak"])
    assert [(line["n"], line["mean"]) for line in found["lines"]] == [(6, pytest.approx(27.33 / 6))]


def test_what_else_differs_between_groups_is_said(folder, tmp_path):
    for seed in range(2):
        write(tmp_path / f"{seed}", 3.9, optimizer__rate__peak=2e-3, optimizer__name="lion", run__seed=seed)
    found = compare([*folder.glob("0.003-*"), tmp_path], ["optimizer"])
    assert found["also"] == [PEAK] and found["lines"][0]["settings"] == {"optimizer.name": "lion"}


def test_a_run_counts_once(folder, tmp_path):
    write(tmp_path / "copy", 4.0, optimizer__rate__peak=3e-3)
    found = compare([*folder.glob("0.003-*"), tmp_path], ["peak"])
    assert found["lines"][0]["n"] == 3 and found["lines"][0]["left_out"] == {"repeated": 1}
    write(tmp_path / "rounded", 4.0001, optimizer__rate__peak=3e-3)  # trained on another number of cores
    assert compare([tmp_path], ["peak"])["lines"][0]["n"] == 1
    write(tmp_path / "other", 4.2, optimizer__rate__peak=3e-3)
    with pytest.raises(UsageError, match=r"equal settings, run\.seed=0 too, and 4 and 4\.2"):
        compare([tmp_path], ["peak"])


@pytest.mark.parametrize(
    "losses, said",
    [
        ({3e-3: [3.0, 3.5], 1e-3: [3.1, 3.6]}, "no spread: cannot be tested"),  # in pairs, exactly 0.1 apart
        ({3e-3: [3.0, 3.5], 1e-3: [3.0, 3.5]}, "cannot be told apart"),
        ({3e-3: [math.nan, math.nan], 1e-3: [math.nan]}, "No run has finished with a value"),
        ({3e-3: [3.0, 3.5]}, "nothing to compare it with"),
    ],
)
def test_where_nothing_can_be_said_it_is_said(tmp_path, lineage, losses, said):
    for peak, ends in losses.items():
        for seed, loss in enumerate(ends):
            write(tmp_path / f"{peak}-{seed}", loss, optimizer__rate__peak=peak, run__seed=seed)
    status, out, _ = lineage("compare", tmp_path, "--by", "peak")
    assert status == 0 and said in out and "differs" not in out and "One seed" not in out


def test_steps_tokens_and_seconds_to_a_target(folder, tmp_path, lineage):
    """Evaluated at 20, 40, 60: losses of 4.0, 4.5 and 5.0 come after one or two evaluations above 5.6."""
    found = compare([folder], ["peak"], metric="steps", target="loss<5.6")
    lines = {line["settings"][PEAK]: line for line in found["lines"]}
    assert (lines[3e-3]["mean"], lines[3e-3]["n"]) == (pytest.approx((40 + 40 + 60) / 3), 3)
    assert lines[3e-3]["target"]["tokens"]["mean"] == pytest.approx(100 * 140 / 3)
    assert (
        lines[1e-1]["left_out"] == {"not reached": 1, "stopped": 1} and lines[1e-1]["target"]["reached"] == 1
    )
    status, out, _ = lineage("compare", folder, "--by", "peak", "--metric", "tokens", "--target", "loss<5.6")
    assert status == 0 and "4,667 ± 667" in out and "3 of 3" in out
    write(tmp_path / "a", 4.0, run__stop_at="loss<5.5")
    assert facts([tmp_path / "a"])["runs"][0]["outcome"]["reached"]["step"] == 40


def test_a_sweep_counts_its_failed_seeds(tmp_path, monkeypatch, lineage):
    monkeypatch.setattr("research.sweeping.worker._free_memory", lambda: None)
    rates = space.grid(PEAK, 3e-3, 1e-3, 1e-1)
    sweep = Sweep(name="made_up", base=made.experiment(), space=rates, seeds=3)
    open_sweep(tmp_path / "sweep", sweep, "journal")

    def train(experiment, run, report, should_stop):
        loss = LOSSES[experiment.optimizer.rate.peak][experiment.run.seed]
        if loss is None:
            raise ValueError("no luck")
        if loss != loss:
            raise Diverged("step 3: the loss is not finite")
        write(run, loss, optimizer__rate__peak=experiment.optimizer.rate.peak, run__seed=experiment.run.seed)
        rows = [row for row in read(run) if row["split"] == "validation"]
        return made.Result(True, None, rows[-1])

    work(tmp_path / "sweep", {}, lambda line: None, at_once(train))
    found = facts([tmp_path / "sweep"])
    lines = found["groups"]["lines"]
    assert [(line["settings"][PEAK], line["n"], line["left_out"]) for line in lines] == [
        (3e-3, 3, {}),
        (1e-3, 3, {}),
        (1e-1, 1, {"failed": 2}),
    ]
    assert found["sweep"]["best"] == 0 and found["sweep"]["counts"] == {"finished": 7, "failed": 2}
    band = lines[0]["curve"]
    assert band["step"] == [20, 40, 60] and band["mean"] == pytest.approx([6.5, 5.5, 4.5])
    assert band["error"] == pytest.approx([0.5 / 3**0.5] * 3)
    _, out, _ = lineage("status", tmp_path / "sweep")
    assert "best       loss 4.5000 ± 0.2887 of 3 seeds" in out
    assert "+0.1100 [+0.0852, +0.1348]  differs" in out and "2 failed" in out.split("over seeds")[1]
    assert json.loads(lineage("status", tmp_path / "sweep", "--json")[1])["groups"]["lines"][0]["n"] == 3
    assert compare([tmp_path / "sweep"], ["peak"])["lines"][2]["left_out"] == {"failed": 2}


def test_compare_imports_no_jax(folder):
    code = (
        "import sys; from launch.__main__ import run;"
        f"assert run(['compare', {str(folder)!r}, '--by', 'peak']) == 0;"
        "assert not {'jax', 'flax', 'optax', 'orbax', 'tensorflow_datasets'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
