"""Runs that diverged, changed midway or are copies: what a table, a comparison and a figure make of them."""

import json
import math
import shutil

import pytest

from research.errors import UsageError
from research.reporting.comparison import Metric, outcome
from research.reporting.evaluations import ending
from research.reporting.facts import facts
from research.reporting.figures.figure import Options, curves
from research.reporting.groups.compare import compare
from research.reporting.groups.counted import left_out
from research.reporting.laws.points import points
from research.reporting.runs import runs_in
from research.runs import record
from tests.reporting import made


def diverge(directory, after=0):
    """Losses of NaN after a step, with a finite accuracy, as a model of NaNs has."""
    path = directory / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row | {"loss": math.nan, "accuracy": 0.01} if row["step"] > after else row for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Widths 16 to 128 with two seeds each; at 128 one diverged at once and one at the last evaluation."""
    found = tmp_path_factory.mktemp("ends")
    for width in (16, 32, 64, 128):
        for seed in (0, 1):
            shift = seed / 100
            made.train(
                made.experiment(model__width=width, run__seed=seed), found / f"w{width}-{seed}", shift=shift
            )
    diverge(found / "w128-0")
    diverge(found / "w128-1", after=40)
    return found


def test_a_run_that_diverged_has_no_last_value_and_not_that_of_step_0(folder):
    early, late = runs_in([folder / "w128-0", folder / "w128-1"])
    assert ending(early, "loss") == ending(late, "loss") == (None, True)
    assert ending(late, "accuracy") == (None, True)  # whose loss is NaN in the same row
    found = outcome(early, Metric(), "finished")
    assert (found.state, found.best, found.last) == ("diverged", None, None)
    found = outcome(late, Metric(), "finished")
    assert found.best_step == 40 and found.last is None
    ranks = {run["name"]: run["outcome"]["rank"] for run in facts([folder])["runs"]}
    assert ranks["w128-0"] is ranks["w128-1"] is None and ranks["w64-0"] == 1


def test_the_best_is_of_step_0_only_without_later_evaluations(tmp_path):
    made.train(made.experiment(), tmp_path / "begun", until=0)
    made.train(made.experiment(), tmp_path / "worse")
    rows = (tmp_path / "worse" / "metrics.jsonl").read_text().splitlines()
    worse = [json.loads(row) for row in rows]
    worse = [row | {"loss": row["loss"] + 9} if row["step"] else row for row in worse]
    (tmp_path / "worse" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in worse))
    begun, trained = (outcome(run, Metric(), "finished") for run in runs_in([tmp_path]))
    assert begun.best_step == 0 and trained.best_step == 60


def test_runs_that_diverged_are_counted_beside_the_mean_and_drawn_nowhere(folder, lineage, tmp_path):
    for score_by in ("last", "best"):
        lines = compare([folder], ["width"], score_by=score_by)["lines"]
        assert (lines[-1]["n"], lines[-1]["left_out"]) == (0, {"diverged": 2})
    (curve,) = curves(runs_in([folder]), Options(over="width"))
    assert list(curve.x_P) == [16, 32, 64]
    with pytest.raises(UsageError, match="3 different width among the finished of 8 runs"):
        points(runs_in([folder]), "power", ["width"])
    assert left_out(runs_in([folder]), "loss") == {"diverged": 2}
    _, out, _ = lineage("figure", folder, "--over", "width", "--out", tmp_path / "a.svg")
    assert "runs: 6; not drawn: 2 diverged" in out
    _, out, _ = lineage("table", folder)
    assert out.splitlines()[-3].split()[:2] != ["1", "128"] and "2 diverged" in out


def test_a_high_metric_s_best_evaluation_is_its_highest(folder):
    lines = compare([folder], ["width"], metric="bits_per_byte", score_by="best")["lines"]
    assert lines[0]["settings"]["model.width"] == 64
    for run in runs_in([folder / "w64-0"]):
        path = run.directory / "metrics.jsonl"
        before = path.read_text()
        rows = [json.loads(line) for line in before.splitlines()]
        path.write_text("".join(json.dumps(row | {"f1": row["step"] % 60 / 100}) + "\n" for row in rows))
        (line,) = compare([run.directory], ["width"], metric="f1", score_by="best")["lines"]
        path.write_text(before)
        assert line["mean"] == 0.4  # at step 40; 0.2 before and 0 after


def test_a_metric_that_nobody_knows_needs_a_direction(folder, lineage, tmp_path):
    shutil.copytree(folder / "w64-0", tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"bits_per_byte"', '"charm"'))
    status, _, err = lineage("compare", tmp_path, "--by", "width", "--metric", "charm")
    assert status == 2 and "expected --direction minimize or maximize" in err and err.count("\n") == 1
    status, out, _ = lineage(
        "compare", tmp_path, "--by", "width", "--metric", "charm", "--direction", "maximize"
    )
    assert status == 0 and "charm" in out


def test_a_copy_of_a_run_is_no_second_seed(folder, tmp_path):
    for run in folder.iterdir():
        shutil.copytree(run, tmp_path / run.name)
    shutil.copytree(folder / "w16-0", tmp_path / "copy")
    made.train(made.experiment(model__width=128, run__seed=2), tmp_path / "w128-2")
    runs = runs_in([tmp_path])
    narrow, *_ = points(runs, "power", ["width"])[0]
    assert len(narrow.losses) == 2
    assert left_out(runs, "loss")["repeated"] == 1
    for over in ("steps", "width"):
        counts = [curve.runs for curve in curves(runs, Options(over=over))]
        assert sum(counts) == {"steps": 9, "width": 7}[over]


@pytest.mark.parametrize(
    "change, text",
    [
        ({"run__steps": 80}, "step 20: run.steps 60 → 80"),
        ({"optimizer__rate__peak": 1e-2}, "step 20: optimizer.rate.peak 0.003 → 0.01"),
        ({"run__keep": 5}, None),
        ({"parallel__compile": "jit"}, None),
    ],
)
def test_a_run_that_changed_midway_is_not_a_clean_one(tmp_path, change, text):
    made.train(made.experiment(), tmp_path / "changed", until=20)
    later = made.experiment(**change)
    facts_ = {"data": ["0" * 64, "1" * 64]}
    record.claim(tmp_path / "changed", later, facts_, step=20, report=lambda line: None, allow_change=True)
    (run,) = runs_in([tmp_path])
    assert run.settings.get("changed") == text
    for seed in (0, 1):
        made.train(made.experiment(**change | {"run__seed": seed}), tmp_path / f"clean-{seed}")
    if text is None:
        assert len(compare([tmp_path], ["width"])["lines"]) == 1
        return
    with pytest.raises(UsageError, match=r"differ in changed \(step 20: .*, —\); .*--average-over changed"):
        compare([tmp_path], ["width"])
    assert compare([tmp_path], ["width"], ["changed"])["lines"][0]["n"] == 2  # the changed one is not over
    notes = [group["note"] for group in facts([tmp_path])["groups"]["lines"]]
    assert any(text in note for note in notes)


def test_more_steps_of_a_constant_rate_change_nothing(tmp_path):
    constant = {"optimizer__rate__name": "constant"}
    made.train(made.experiment(**constant), tmp_path / "run", until=20)
    longer = made.experiment(run__steps=80, **constant)
    record.claim(tmp_path / "run", longer, {"data": ["0" * 64, "1" * 64]}, 20, lambda line: None)
    (run,) = runs_in([tmp_path])
    assert "changed" not in run.settings
