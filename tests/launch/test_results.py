"""`lineage report`, `lineage table` and `lineage fit`, as typed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.reporting import made


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    made.train(made.experiment(), folder / "good")
    made.train(made.experiment(optimizer__rate__peak=0.1, run__keep=3), folder / "bad")
    made.train(made.experiment(model__width=32), folder / "cut", until=30)
    return folder


def names(out: str) -> list[str]:
    return [line.split()[1] for line in out.splitlines()[1:]]


def test_a_table_has_the_best_first(lineage, runs):
    status, out, _ = lineage("table", runs)
    assert status == 0
    assert out.splitlines()[0].split()[:4] == ["#", "run", "width", "peak"]  # run.keep tells nothing apart
    assert names(out) == ["good", "cut", "bad"]
    assert out.splitlines()[2].split()[2:5] == ["32", "0.003", "30/60"]


@pytest.mark.parametrize(
    "key, order",
    [
        ("width", ["cut", "good", "bad"]),
        ("optimizer.rate.peak", ["good", "cut", "bad"]),
        ("step", ["cut", "good", "bad"]),
        ("tokens_per_second", ["cut", "good", "bad"]),
        ("state", ["good", "bad", "cut"]),
    ],
)
def test_a_table_is_sorted_by_any_column(lineage, runs, key, order):
    status, out, _ = lineage("table", runs / "good", runs / "bad", runs / "cut", "--sort", key)
    assert status == 0 and names(out) == order


def test_a_table_as_json(lineage, runs):
    lines = json.loads(lineage("table", runs, "--json")[1])
    assert [line["rank"] for line in lines] == [1, 2, 3]
    assert lines[1]["state"] == "stopped" and lines[1]["settings"]["model.width"] == 32
    rows = [json.loads(line) for line in (runs / "good" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["best"] == min(row["loss"] for row in rows if row["split"] == "validation")


def test_a_page_goes_where_it_belongs(lineage, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lineage("report", runs / "good")[0] == 0 and (runs / "good" / "report.html").exists()
    assert lineage("report", runs / "good", runs / "bad")[0] == 0 and (tmp_path / "report.html").exists()
    status, out, _ = lineage("report", runs, "--out", tmp_path / "three.html", "--json")
    assert status == 0 and json.loads(out) == {
        "page": str(tmp_path / "three.html"),
        "runs": ["bad", "cut", "good"],
    }
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    assert lineage("report", runs, "--out=~/page.html")[0] == 0  # which a shell leaves as it is
    assert (tmp_path / "home/page.html").exists() and not (tmp_path / "~").exists()


@pytest.mark.parametrize("command", ["report", "fit"])
def test_a_page_beside_runs_that_cannot_be_written_needs_a_place(lineage, runs, monkeypatch, command):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write everything
    status, _, err = lineage(command, runs / "good")
    assert status == 1 and err.endswith(".html: cannot be written; expected --out FILE\n")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["report", "nowhere"], "no such directory"),
        (["table", "."], "no run in it"),
        (["table", "RUNS", "--sort", "pek"], "did you mean"),
        (["report", "RUNS", "--out", "."], "is a directory"),
        (["report", "RUNS", "--out", "no/page.html"], "no such directory"),
    ],
)
def test_mistakes_are_one_line_and_status_2(lineage, runs, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = lineage(*(runs if argument == "RUNS" else argument for argument in arguments))
    assert status == 2 and out == "" and message in err and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_status_of_a_folder_lists_what_it_holds(lineage, runs, tmp_path, monkeypatch):
    lab = tmp_path / "runs" / "lab"
    lab.mkdir(parents=True)
    (lab / "good").symlink_to(runs / "good")
    (lab / "cut").symlink_to(runs / "cut")
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "experiment.json").write_text('{"experi')
    monkeypatch.chdir(tmp_path)
    status, out, _ = lineage("status")
    assert status == 0
    found = [line.split()[:2] for line in out.splitlines()]
    assert found == [
        ["runs/lab/cut", "stopped"],
        ["runs/lab/good", "finished"],
        ["runs/torn", "unreadable"],
    ]
    facts = json.loads(lineage("status", lab, "--json")[1])
    assert [fact["step"] for fact in facts] == [30, 60]
    (tmp_path / "empty").mkdir()
    status, _, err = lineage("status", "empty")
    assert status == 2 and "no run or sweep in it" in err and err.count("\n") == 1


@pytest.mark.parametrize("command", ["status", "table", "report"])
def test_what_reads_a_run_imports_no_jax(runs, command, tmp_path):
    """Not a timing: what costs a second is never imported."""
    typed = [command, str(runs / "good"), *(["--out", str(tmp_path / "page.html")] * (command == "report"))]
    code = (
        f"import sys; from launch.__main__ import run; assert run({typed!r}) == 0;"
        "assert not {'jax', 'flax', 'optax', 'orbax', 'tensorflow_datasets'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def widths(tmp_path_factory):
    """Losses of 3.09 + 16 / width; one run is cut short."""
    folder = tmp_path_factory.mktemp("widths")
    for width in (16, 32, 64, 128):
        made.train(made.experiment(model__width=width), folder / f"w{width}")
    made.train(made.experiment(model__width=256), folder / "cut", until=30)
    return folder


def test_a_law_is_fitted_from_the_command_line(widths, lineage, tmp_path):
    page = tmp_path / "law.html"
    status, out, err = lineage(
        "fit", widths, "--over", "width", "--predict", "512", "--resamples", "20", "--out", page
    )
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0] == "L = E + A / w^a, 4 points of 4 runs of 5"
    assert lines[2].split()[:2] == ["A", "16"] and lines[3].split()[:2] == ["a", "1"]
    assert "warning: extrapolated: width 512 is 4 times beyond the largest measured, 128" in lines
    text = page.read_text()
    assert "Plotly.react" in text and "http-equiv" in text and "Content-Security-Policy" in text
    status, out, _ = lineage("fit", widths, "--over", "width", "--resamples", "20", "--out", page, "--json")
    facts = json.loads(out)
    assert status == 0 and facts["warnings"] == [] and facts["page"] == str(page)
    np.testing.assert_allclose(facts["parameters"]["E"]["value"], 3 + 5 * np.exp(-4), rtol=1e-3)
