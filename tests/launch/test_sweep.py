"""`lineage sweep` as typed: refused before it begins, and a status that tells of failed trials."""

import pytest

from launch.executors import local
from research.sweeping import worker
from research.sweeping.status import sweep_status
from tests.sweeping.pretended import training
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
