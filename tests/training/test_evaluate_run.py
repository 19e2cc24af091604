"""A run's validation again is the row that it wrote."""

import pytest

from research.errors import UsageError
from research.runs.metrics_log import read
from research.training.evaluating.evaluate_run import evaluate_run, predict
from research.training.loop import train
from tests.training.tiny import quickstart


def silent(line: str) -> None:
    pass


@pytest.mark.slow
def test_the_same_row_comes_again(tmp_path):
    experiment = quickstart(tmp_path / "text.txt", run__sample=8)
    train(experiment, tmp_path / "run", silent)
    rows = {row["step"]: row for row in read(tmp_path / "run") if row["split"] == "validation"}
    again = evaluate_run(tmp_path / "run", None, silent)
    last = rows[experiment.run.steps]
    assert again == {name: value for name, value in last.items() if name != "sample"}
    with pytest.raises(UsageError, match="no such checkpoint"):
        evaluate_run(tmp_path / "run", 5, silent)
    with pytest.raises(UsageError, match="pre-trained with next_token; it has no task"):
        predict(tmp_path / "run", None, f"files:{tmp_path}/text.txt", silent)
    with (tmp_path / "text.txt").open("a") as file:
        file.write("something else. " * 200)
    with pytest.raises(UsageError, match="now gives other data than the run's"):
        evaluate_run(tmp_path / "run", None, silent)
