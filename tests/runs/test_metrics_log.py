"""metrics.jsonl: no line twice, none lost, none half."""

import json

import pytest

from research.api import read_metrics
from research.errors import LineageWarning
from research.runs.metrics_log import Metrics, read
from research.runs.status import progress


def row(step, split="train"):
    return {"step": step, "split": split, "loss": step / 2, "seconds": step, "tokens_per_second": 100.0}


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


GOOD = [json.dumps(row(step)).encode() for step in range(1, 7)]
DAMAGE = {
    "half a line": (GOOD[2][:20], 3),
    "zeros": (bytes(512), 3),
    "not UTF-8": (GOOD[2].replace(b"train", b"tr\xff\xfen"), 3),
    "not a row": (b"17", 3),
    "half a row, and a whole one on its line": (GOOD[2][:20] + GOOD[2], 0),
    "zeros, and a row on their line": (bytes(512) + GOOD[2], 0),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_line_loses_itself_alone(tmp_path, damage):
    line, lost = DAMAGE[damage]
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(
        b"\n".join([*GOOD[:2], line, *GOOD[3:], GOOD[0][:9]])
    )  # the last one, cut, is not reported
    kept = [row(step) for step in range(1, 7) if step != lost]
    with pytest.warns(LineageWarning, match=r"metrics\.jsonl:3: not a row of metrics") as warned:
        assert read(tmp_path) == kept
    assert len(warned) == 1
    with pytest.warns(LineageWarning, match=r"metrics\.jsonl:3: "):
        columns = read_metrics(tmp_path)
    assert columns["train"]["step"].tolist() == [row["step"] for row in kept]
    with pytest.warns(LineageWarning, match=r"metrics\.jsonl:3: "):
        assert progress(tmp_path, 12) == (6, 3.0, 100.0, 6.0)
    with pytest.warns(LineageWarning, match=r"metrics\.jsonl:3: "), Metrics(tmp_path, 5) as metrics:
        assert metrics.rows == [row for row in kept if row["step"] <= 5]
        metrics.write(row(6))
    assert read(tmp_path) == kept  # whole again: no warning


def test_many_damaged_lines_are_one_message(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([b"{", GOOD[0], b"\0\0", GOOD[1], b""]))
    with pytest.warns(LineageWarning, match=r":1: .*; lines like this: 2") as warned:
        assert read(tmp_path) == [row(1), row(2)]
    assert len(warned) == 1
