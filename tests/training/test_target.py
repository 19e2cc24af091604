"""A run ends at its target, and nothing else about it changes."""

import math

import pytest

from research.config.settings import override
from research.config.target import parse
from research.errors import UsageError
from research.reporting.facts import facts
from research.runs.checkpoints.integrity import latest_intact_step
from research.runs.checkpoints.store import Checkpoints
from research.runs.target import reached
from research.training.loop import train
from tests.training.tiny import final_arrays, quickstart, timeless


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of 12 steps, evaluated at every 3; and one that ends below its loss at step 6."""
    folder = tmp_path_factory.mktemp("target")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_HOME", str(folder / "home"))
        whole = quickstart(
            folder / "corpus.txt", run__evaluate_every=3, run__checkpoint_every=4, run__sample=0
        )
        train(whole, folder / "whole", print)
        losses = {
            row["step"]: row["loss"] for row in timeless(folder / "whole") if row["split"] == "validation"
        }
        between = (losses[3] + losses[6]) / 2
        assert losses[3] > between > losses[6]
        stopping = override(whole, {"run.stop_at": f"loss<{between}"})
        result = train(stopping, folder / "stopped", print)
        yield folder, whole, stopping, result


def test_it_ends_at_the_first_evaluation_that_meets_it(runs):
    folder, _, _, result = runs
    assert (result.step, result.finished, result.signal, result.reached.step) == (6, True, None, 6)
    assert timeless(folder / "stopped") == [row for row in timeless(folder / "whole") if row["step"] <= 6]
    assert latest_intact_step(folder / "stopped" / "checkpoints") == 6
    found = facts([folder / "stopped"])["runs"][0]["outcome"]
    assert found["state"] == "finished" and found["reached"]["step"] == 6
    assert found["reached"]["tokens"] == 6 * 8 * 32


def test_resumed_it_says_so_and_makes_no_step(runs):
    folder, _, stopping, _ = runs
    before = timeless(folder / "stopped")
    again = train(stopping, folder / "stopped", print)
    assert again.step == again.reached.step == 6 and again.finished
    assert timeless(folder / "stopped") == before


def test_without_the_target_it_goes_on_to_the_same_bits(runs, tmp_path):
    folder, whole, stopping, _ = runs
    train(stopping, tmp_path / "run", print)
    assert train(whole, tmp_path / "run", print).step == 12
    assert timeless(tmp_path / "run") == timeless(folder / "whole")
    expected = final_arrays(whole, folder / "whole")
    for name, array in final_arrays(whole, tmp_path / "run").items():
        assert array.tobytes() == expected[name].tobytes(), name


@pytest.mark.slow
def test_killed_between_the_evaluation_and_the_save_it_ends_at_the_same_step(runs, tmp_path, monkeypatch):
    folder, _, stopping, _ = runs

    class Killed(BaseException):
        pass

    save = Checkpoints.save

    def dies(self, step, *arguments):
        if step == 6:
            raise Killed
        return save(self, step, *arguments)

    monkeypatch.setattr(Checkpoints, "save", dies)
    with pytest.raises(Killed):
        train(stopping, tmp_path / "run", print)
    monkeypatch.undo()
    monkeypatch.setenv("LINEAGE_HOME", str(folder / "home"))
    assert train(stopping, tmp_path / "run", print).reached.step == 6
    assert timeless(tmp_path / "run") == timeless(folder / "stopped")


def rows(*values, metric="loss"):
    """Evaluations from step 0 on, ten steps apart, and the training row before each."""
    return [
        {"split": split, "step": 10 * n, "tokens": 100 * n, "seconds": 2.0 * n, metric: value}
        for n, value in enumerate(values)
        for split in (("validation",) if n == 0 else ("train", "validation"))
    ]


@pytest.mark.parametrize(
    "values, metric, patience, step, best",
    [
        ((5, 4, 3, 3, 3.1, 2), "loss", 2, 40, 3),  # equal is not better
        ((5, 4, 3, 3.1, 2, 2.5, 2.4), "loss", 2, 60, 2),
        ((5, 6, 7), "loss", 2, 20, 5),  # that of step 0 counts
        ((0.1, 0.4, 0.3, 0.2), "accuracy", 1, 20, 0.4),
        ((5, 4, math.nan, math.nan), "loss", 2, 30, 4),
        ((5, 4, 3, 2), "loss", 1, None, None),
        ((5,), "loss", 1, None, None),
    ],
)
def test_patience_ends_at_evaluations_without_a_better_value(values, metric, patience, step, best):
    found = reached(rows(*values, metric=metric), parse(f"{metric} patience {patience}"))
    if step is None:
        assert found is None
    else:
        text = f"{metric} patience {patience}"
        assert found == (text, best, step, 10 * step, step / 5)


def test_a_run_without_patience_ends_early(runs, tmp_path):
    """Killed or not: the rows decide. A rate that throws it off leaves step 0 the best."""
    _, whole, _, _ = runs
    hopeless = override(whole, {"run.stop_at": "loss patience 2", "optimizer.rate.peak": 3.0})
    result = train(hopeless, tmp_path / "run", print)
    assert (result.step, result.finished, result.reached.step) == (6, True, 6)
    assert train(hopeless, tmp_path / "run", print).step == 6
    found = facts([tmp_path / "run"])["runs"][0]["outcome"]
    assert found["state"] == "finished" and found["reached"]["target"] == "loss patience 2"


def test_a_metric_that_no_evaluation_measures_is_refused_before_anything_is_written(runs, tmp_path):
    _, whole, _, _ = runs
    with pytest.raises(UsageError, match=r"run\.stop_at=los<3: los: not a number .* did you mean loss\?"):
        train(override(whole, {"run.stop_at": "los<3"}), tmp_path / "run", print)
    assert not (tmp_path / "run").exists()
