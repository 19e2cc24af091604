"""`lineage prepare` and `lineage batch`, as they are typed."""

import json
import re

import pytest

from launch.__main__ import run
from research.config.settings import to_json
from tests.training.tiny import assignments, shrunk


@pytest.fixture
def phases(tmp_path):
    return shrunk(
        "bert_tiny",
        tmp_path / "corpus.txt",
        data__length=16,
        data__masking__predictions=4,
        data__later__step=3,
        data__later__length=32,
        data__later__predictions=6,
    )


def test_prepare_tells_what_it_made(lineage, phases, tmp_path, monkeypatch):
    # A cache of its own: another test's text of the same content would be found there.
    home = tmp_path / "home"
    monkeypatch.setenv("LINEAGE_HOME", str(home))
    status, out, err = lineage("prepare", "bert_tiny", *assignments(phases))
    assert status == 0 and err == ""
    found = re.search(r"train +(\d+) documents +([\d,]+) tokens +(\d\.\d+) bytes per token", out)
    assert found and "MB/s" in out.splitlines()[0]
    status, again, _ = lineage("prepare", "bert_tiny", *assignments(phases), "--json")
    facts = json.loads(again)["train"]
    assert (facts["documents"], f"{facts['tokens']:,}") == (int(found[1]), found[2])
    # The pairs of both lengths, of both splits: training has none left to make.
    pairs = sorted(path.parent.name + path.name[:8] for path in home.glob("stores/*/*/pairs-*"))
    assert len({*pairs}) == 2 and len(pairs) >= 4
    assert "found in the cache" in lineage("prepare", "bert_tiny", *assignments(phases))[1]


def test_batch_shows_both_sides_of_a_change(lineage, phases, tmp_path):
    (tmp_path / "run").mkdir()
    record = {"experiment": to_json(phases)}
    (tmp_path / "run" / "experiment.json").write_text(json.dumps(record))
    for step, length, predicted in ((2, 16, 4), (3, 32, 6)):
        _, out, _ = lineage("batch", "bert_tiny", *assignments(phases), "--step", step, "--json")
        batch = json.loads(out)
        assert [len(row) for row in batch["tokens"]] == [length] * 8
        assert [len(row) for row in batch["positions"]] == [predicted] * 8
        status, out, _ = lineage("batch", "bert_tiny", *assignments(phases), "--step", step)
        assert status == 0 and f"of {length} tokens" in out
        assert lineage("batch", tmp_path / "run", "--step", step)[1] == out
    assert lineage("batch", tmp_path / "run", "--step", 12)[0] == 2


def test_a_batch_is_of_the_file_that_train_is_given(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("".join(f"{n} bottles hang on the wall.\n" for n in range(400)))
    small = ["data.batch=2", "data.length=16", "--train-file", str(tmp_path / "a.txt")]
    assert run(["batch", "quickstart", "--step", "0", *small]) == 0
    assert "bottles hang" in capsys.readouterr().out
