"""`lineage sweep` as typed: refused before it begins, and a status that tells of failed trials."""

import json
import shutil

import pytest

from launch.executors import local
from research.config import Sweep, space
from research.reporting.groups.compare import compare
from research.reporting.runs import runs_in
from research.sweeping import worker
from research.sweeping.record import open_sweep
from research.sweeping.status import sweep_status
from tests.reporting import made
from tests.sweeping.pretended import at_once, training
from tests.training.tiny import assignments, quickstart


@pytest.fixture
def typed(tmp_path):
    settings = assignments(quickstart(tmp_path / "corpus.txt"))
    over = ["--over", "run.seed=0,1,2"]
    return ["sweep", "quickstart", *settings, *over, "--dir", tmp_path / "sweep"]


def test_an_unknown_metric_is_refused_before_anything_is_written(lineage, typed, tmp_path):
    status, out, err = lineage(*typed, "--metric", "acuracy")
    assert status == 2 and "did you mean accuracy" in err and err.count("\n") == 1
    assert out == f"quickstart: a sweep in {tmp_path / 'sweep'}\n"  # said before JAX is imported
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
@pytest.mark.parametrize("failing, expected", [({1}, 1), ({0, 1, 2}, 1), (set(), 0)])
def test_the_status_tells_of_failed_trials(lineage, typed, tmp_path, monkeypatch, failing, expected):
    def interfere(experiment, step):
        if experiment.run.seed in failing:
            raise MemoryError("no memory")

    def run_workers(directory, slices, report, tick):
        worker.work(directory, {"devices": (), "host": "here", "job": None}, report, training(interfere))
        tick()
        return 0

    monkeypatch.setattr(local, "run_workers", run_workers)
    monkeypatch.setattr(worker, "_free_memory", lambda: None)
    status, out, _ = lineage(*typed)
    assert status == expected
    assert sweep_status(tmp_path / "sweep").counts["failed"] == len(failing)
    assert ("failed     trial " in out) == bool(failing) and (not failing or "no memory" in out)


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    """A sweep over two widths, of which one does not fit the number of heads."""
    folder = tmp_path_factory.mktemp("failing")
    widths = space.product(space.choice("model.width", 33, 64), space.choice("optimizer.rate.peak", 3e-3))
    base = made.experiment(model__heads=2, run__hyperparameters="inputs")
    declared = Sweep(name="made_up", base=base, space=widths, trials=6, sampler="random")
    open_sweep(folder / "sweep", declared, "journal")
    worker.work(folder / "sweep", {}, lambda line: None, at_once(made.train))
    return folder / "sweep"


def test_trials_whose_settings_do_not_fit_are_counted_everywhere(failing, lineage):
    failed = [trial.number for trial in sweep_status(failing).trials if trial.state == "failed"]
    assert 0 < len(failed) < 6
    status, out, _ = lineage("table", failing)
    rows = [line.split() for line in out.splitlines()]
    assert status == 0 and [row[1:3] for row in rows if "0/60" in row] == [[f"{n:04d}", "33"] for n in failed]
    assert f"failed     {', '.join(f'{n:04d}' for n in failed)}: model.heads=2: expected a divisor" in out
    lines = json.loads(lineage("table", failing, "--json")[1])
    assert len(lines) == 6 and {line["settings"]["model.width"] for line in lines} == {33, 64}
    status, out, err = lineage("compare", failing, "--by", "width")
    assert status == 0 and f"{len(failed)} failed" in out, err
    assert out.count("model.heads=2: expected a divisor") == 1
    status, out, _ = lineage("status", failing)
    assert out.count("model.heads=2: expected a divisor") == 1 and "UsageError" not in out


def test_a_sweep_and_plain_runs_are_compared_and_a_seed_counts_once(failing, tmp_path):
    """The trials' source is an absolute path, a plain run's as it was typed; their constants are inputs."""
    folder = tmp_path / "sweep"
    shutil.copytree(failing, folder)
    for path in folder.glob("trials/*/experiment.json"):
        kept = json.loads(path.read_text())
        kept["experiment"]["data"]["source"] = kept["paths"]["data.source"] = "files:/far/away/text.txt"
        path.write_text(json.dumps(kept))
    for seed in (0, 1):
        plain = made.experiment(model__heads=2, model__width=64, run__seed=seed)
        made.train(plain, tmp_path / f"plain-{seed}", shift=1e-7)  # rounding
        path = tmp_path / f"plain-{seed}" / "experiment.json"
        kept = json.loads(path.read_text())
        kept["experiment"]["data"]["source"], kept["paths"] = "files:text.txt", {}
        path.write_text(json.dumps(kept))
    directories = [folder, *sorted(tmp_path.glob("plain-*"))]
    lines = compare(directories, ["width"])["lines"]
    assert [(line["settings"]["model.width"], line["n"]) for line in lines] == [(64, 2), (33, 0)]
    assert lines[0]["left_out"]["repeated"] >= 1
    again = compare(directories, ["width"], ["data.source", "run.hyperparameters"])["lines"]
    assert again[0]["n"] == 2 and again[0]["left_out"] == lines[0]["left_out"]
    sources = {run.settings["data.source"] for run in runs_in(directories)}
    assert sources == {"files:text.txt"}


def test_hours_that_are_used_up_are_said_to_be(lineage, typed, tmp_path, monkeypatch):
    def run_workers(directory, slices, report, tick):
        worker.work(directory, {"devices": (), "host": "here", "job": None}, report, training())
        return 0

    monkeypatch.setattr(local, "run_workers", run_workers)
    monkeypatch.setattr(worker, "_free_memory", lambda: None)
    status, out, _ = lineage(*typed, "--hours", "1e-9")
    assert status == 0 and "1 finished, 2 queued of 3" in out
    assert "hours      1e-09 are used up; more of them, by --hours," in out and "same command" not in out
    assert "are used up" in lineage("status", tmp_path / "sweep")[1]
    assert "same command" not in lineage(*typed, "--hours", "1e-9")[1]
    assert "3 finished of 3" in lineage(*typed, "--hours", "1")[1]
    assert "3 finished of 3" in lineage(*typed, "--trials", "2")[1]
