"""Tables that are written for R, pandas and spreadsheets."""

import csv
import json
import math
from datetime import date

import pytest

from research.data import tables
from research.errors import UsageError

ROWS = [
    {"id": "a\tb", "text": 'Sie sagte "ja".\r\nZwei', "made": date(2020, 2, 1), "score": math.nan},
    {"id": 2},
]
NAMES = ["id", "text", "made", "score"]


@pytest.mark.parametrize(("name", "separator"), [("t.tsv", "\t"), ("t.csv", ",")])
def test_cells_come_back(name, separator, tmp_path):
    tables.write(tmp_path / name, NAMES, ROWS)
    with open(tmp_path / name, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter=separator)
    assert header == NAMES
    assert rows == [["a\tb", 'Sie sagte "ja".\r\nZwei', "2020-02-01", ""], ["2", "", "", ""]]


def test_json_has_neither_nan_nor_dates(tmp_path):
    tables.write(tmp_path / "t.jsonl", NAMES, [ROWS[0] | {"nested": [{"a": math.inf}]}])
    found = json.loads((tmp_path / "t.jsonl").read_text())
    assert (found["score"], found["made"], found["nested"]) == (None, "2020-02-01", [{"a": None}])


def test_mistakes_are_one_line(tmp_path):
    (tmp_path / "t.csv").write_text("mine")
    for path, message in (
        ("t.csv", "exists and is not overwritten"),
        ("t.xlsx", "expected a file that ends in"),
        ("none/t.csv", "there is no folder .*none"),
    ):
        with pytest.raises(UsageError, match=message):
            tables.write(tmp_path / path, NAMES, ROWS)
    with pytest.raises(UsageError, match="column score: also a name of a column of the output; rename it"):
        tables.check_columns(NAMES, ["score"])
