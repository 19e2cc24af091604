"""What a report says of runs: their own numbers, and what sets them apart."""

import json
import math

import pytest

from research.errors import UsageError
from research.reporting.comparison import Metric, differing, labels, outcome, ranked
from research.reporting.facts import facts
from research.reporting.runs import runs_in
from research.reporting.series import columns, thinned
from tests.reporting import made


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A finished run, and a wider one at half its rate that was stopped at step 20."""
    folder = tmp_path_factory.mktemp("runs")
    made.train(made.experiment(), folder / "narrow")
    wide = made.experiment(model__width=256, optimizer__rate__peak=1.5e-3)
    made.train(wide, folder / "wide", until=20)
    return folder


def test_numbers_are_those_of_metrics_jsonl(two):
    lines = (two / "narrow" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    shown = facts([two / "narrow"])["runs"][0]
    for split in ("train", "validation"):
        written = [row for row in rows if row["split"] == split]
        for name in written[0].keys() - {"split", "sample"}:
            assert shown[split][name] == [row[name] for row in written], name
    samples = [{"step": row["step"], "text": row["sample"]} for row in rows if "sample" in row]
    assert shown["samples"] == samples


def test_an_evaluation_has_the_clock_of_the_rows_around_it(tmp_path):
    made.train(made.experiment(run__log_every=8), tmp_path / "run")
    (run,) = runs_in([tmp_path])
    validation = columns(run, 100)["validation"]
    assert validation["tokens"] == [1024 * step for step in validation["step"][:-1]] + [56 * 1024]
    assert validation["seconds"][1] == pytest.approx(20 * 128 / 1000)  # between steps 16 and 24


def test_outcomes(two):
    found = {run["name"]: run["outcome"] for run in facts([two])["runs"]}
    floor = 3 + 16 / 128
    assert found["narrow"]["last"] == found["narrow"]["best"] == pytest.approx(floor + 5 * math.exp(-4))
    assert (found["narrow"]["state"], found["wide"]["state"]) == ("finished", "stopped")
    assert (found["wide"]["step"], found["wide"]["steps"]) == (20, 60)
    assert (found["narrow"]["rank"], found["wide"]["rank"]) == (1, 2)
    assert found["narrow"]["seconds"] == pytest.approx(60 * 0.128)


def test_only_differing_settings_are_shown(two):
    found = facts([two])
    assert found["differing"] == [
        {"name": "model.width", "label": "width"},
        {"name": "optimizer.rate.peak", "label": "peak"},
    ]
    marked = {entry["name"]: entry["values"] for entry in found["settings"] if entry["differs"]}
    assert marked == {"model.width": [128, 256], "optimizer.rate.peak": [3e-3, 1.5e-3]}
    assert [run["note"] for run in found["runs"]] == ["width 128 · peak 0.003", "width 256 · peak 0.0015"]


def test_a_value_that_is_not_finite_is_a_hole(two, tmp_path):
    run = runs_in([two / "narrow"])[0]
    broken = [row | {"loss": math.nan} if row["step"] == 20 else row for row in run.rows]
    held = run._replace(rows=broken)
    assert None in columns(held, 100)["train"]["loss"]
    assert outcome(held, Metric(), "finished").best == min(row["loss"] for row in run.split("validation"))
    json.dumps(columns(held, 100), allow_nan=False)


def test_thinned_rows_keep_the_extremes_and_are_never_made_up():
    rows = [{"step": step, "loss": 5 - step / 1000} for step in range(3_000)]
    rows[1_234]["loss"], rows[2_345]["loss"] = 99.0, math.nan
    kept = thinned(rows, 200)
    assert len(kept) <= 202 and all(row in rows for row in kept if row["loss"] == row["loss"])
    assert {0, 1_234, 2_345, 2_999} <= {row["step"] for row in kept}
    assert [row["step"] for row in kept] == sorted(row["step"] for row in kept)
    assert thinned(rows, 3_000) == rows


def test_labels_are_short_and_apart():
    names = ["optimizer.rate.peak", "optimizer.name", "model.width", "data.length", "data.later.length"]
    assert list(labels(names).values()) == ["peak", "optimizer", "width", "data.length", "later.length"]


def test_an_absent_setting_differs():
    assert differing([{"a": 1, "b": None}, {"a": 1}]) == ["b"]


def test_ranks(two):
    shape = outcome(runs_in([two / "narrow"])[0], Metric(), "finished")
    given = [(2.0, "finished"), (1.0, "pruned"), (3.0, "finished"), (2.0, "finished"), (None, "failed")]
    outcomes = [shape._replace(best=best, state=state) for best, state in given]
    assert [one.rank for one in ranked(outcomes, Metric(), True)] == [1, None, 3, 1, None]
    assert [one.rank for one in ranked(outcomes, Metric(), False)] == [2, 1, 4, 2, None]
    assert [one.rank for one in ranked(outcomes, Metric(direction="maximize"), False)] == [2, 4, 1, 2, None]


def test_runs_are_found_once_and_named_apart(two, tmp_path):
    made.train(made.experiment(), tmp_path / "other" / "narrow", until=0)
    found = runs_in([two, two / "narrow", tmp_path / "other"])
    assert len(found) == 3
    names = [run.name for run in found]
    assert len(set(names)) == 3 and all("narrow" in name or "wide" in name for name in names)


def test_a_run_that_has_just_begun(tmp_path):
    made.train(made.experiment(), tmp_path / "run", until=0)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    shown = facts([tmp_path / "run"])["runs"][0]
    assert shown["outcome"]["best"] is None and shown["train"] == {}


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_no_run(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"experiment\.json"):
        facts([tmp_path / path])


def test_changes_during_a_run_are_shown(tmp_path):
    """A run that goes on for more steps."""
    made.train(made.experiment(), tmp_path / "run", until=20)
    made.train(made.experiment(run__steps=80), tmp_path / "run")
    environment = {entry["name"]: entry["values"] for entry in facts([tmp_path / "run"])["environment"]}
    assert environment["changes"] == ["step 0: run.steps 60 → 80"]
