"""Records drawn by a seed, as finetune-transformer-lm draws StoryCloze's validation stories."""

import json

import pytest

import experiments
from research.config.settings import override
from research.data.sources import schemes
from research.errors import UsageError
from research.runs import paths

SEED = 3_535_999_445
# The first of 1,871 stories that datasets.py: rocstories, run beside ours, validates and trains with.
VALIDATES = [1058, 198, 1174, 806, 127, 918, 152, 898, 1755, 703, 1219, 912]
TRAINS = [187, 1591, 1646, 169, 1870]


@pytest.fixture
def stories(tmp_path):
    (tmp_path / "s.jsonl").write_text("".join(json.dumps({"n": n}) + "\n" for n in range(1871)))
    return f"files:{tmp_path}/s.jsonl"


def numbers(source):
    return [record["n"] for _, record in schemes.records(source, {"n"}, "train")]


def test_the_released_split(stories):
    drawn, rest = numbers(f"drawn:374:{SEED}:{stories}"), numbers(f"rest:374:{SEED}:{stories}")
    assert (len(drawn), len(rest)) == (374, 1497)
    assert drawn[: len(VALIDATES)] == VALIDATES and rest[: len(TRAINS)] == TRAINS
    assert sorted(drawn + rest) == list(range(1871))
    assert numbers(f"drawn:374:1:{stories}") != drawn


def test_joined_with_another_source(stories):
    assert len(numbers(f"drawn:4:0:{stories}+rest:4:0:{stories}")) == 1871


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("drawn:x:1:{}", r"drawn:x:1:.*: expected drawn:COUNT:SEED:SOURCE with a SEED below 2\^32"),
        ("rest:374", r"rest:374: expected rest:COUNT:SEED:SOURCE"),
        (f"drawn:4:{1 << 32}:{{}}", r"with a SEED below 2\^32"),
        ("drawn:1871:1:{}", "expected fewer than all 1871 records"),
        ("drawn:0:1:{}", "expected fewer than all 1871 records, from 1"),
        ("drawn:4:1:fils:x", "drawn:4:1=fils:x: expected .*did you mean files"),
    ],
)
def test_mistakes(stories, source, message):
    with pytest.raises(UsageError, match=message):
        numbers(source.format(stories))


def test_its_path_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    declared = override(experiments.get("gpt1_storycloze"), {"data.source": "rest:374:1:files:a b.csv"})
    found = paths.absolute(declared)
    assert found["data.source"] == f"rest:374:1:files:{tmp_path}/a b.csv"
    assert found["data.validation"].startswith(
        f"drawn:374:{SEED}:files:{tmp_path}/cloze_test_val__spring2016 - "
    )
