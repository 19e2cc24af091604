"""metrics.jsonl: no line twice, none lost, none half."""

import json

from research.runs.metrics_log import Metrics, read


def row(step, split="train"):
    return {"step": step, "split": split, "loss": step / 2}


def test_a_continued_run_drops_what_it_will_write_again(tmp_path):
    with Metrics(tmp_path, 0) as metrics:
        for step in (1, 2, 3, 4):
            metrics.write(row(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "spl')  # killed while writing
    assert read(tmp_path) == [row(step) for step in (1, 2, 3, 4)]
    with Metrics(tmp_path, 2) as metrics:
        assert metrics.rows == [row(1), row(2)]
        metrics.write(row(3))
        metrics.write(row(3, "validation"))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [row(1), row(2), row(3), row(3, "validation")]
    assert list(tmp_path.glob(".metrics*")) == []


def test_a_run_from_the_start_forgets_the_one_before(tmp_path):
    for _ in range(2):
        with Metrics(tmp_path, 0) as metrics:
            metrics.write(row(1))
    assert read(tmp_path) == [row(1)]


def test_rows_can_be_watched_as_they_come(tmp_path):
    with Metrics(tmp_path, 0) as metrics:
        metrics.write(row(1))
        assert read(tmp_path) == [row(1)]


def test_nothing_yet(tmp_path):
    assert read(tmp_path) == []
