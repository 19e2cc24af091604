"""Settings that name files mean what they meant in the folder in which a run was started."""

import json
import os
from pathlib import Path

import pytest

import experiments
from research.config import Experiment
from research.config.settings import override
from research.data.sources import documents, files
from research.errors import UsageError
from research.runs import record
from research.runs.paths import absolute, as_recorded, located, other_weights

FACTS = {"data": ["a", "b"]}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two folders with a train.txt each, of which the first is the present one."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.txt").write_text(name)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def declared(source="files:train.txt", **changes) -> Experiment:
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return override(experiments.get("quickstart"), {"data.source": source, "data.split": "tail"} | changes)


def absolute_of(experiment: Experiment) -> dict[str, str]:
    return absolute(experiment)


@pytest.mark.parametrize(
    ("name", "typed", "form"),
    [
        ("source", "files:train.txt", "files:{}/train.txt"),
        ("source", "files:/a/*.txt", "files:/a/*.txt"),
        ("source", "files:~/a.txt", "files:/home/me/a.txt"),
        ("source", "files:../*/[ab].txt", "files:{}/../*/[ab].txt"),
        ("source", "files:a+b.txt", "files:{}/a+b.txt"),
        ("source", "0.5*tokens:a.bin+0.5*tokens:/b.npy", "0.5*tokens:{}/a.bin+0.5*tokens:/b.npy"),
        ("source", "0.5*files:a.txt + .5*tfds:x:a+b", "0.5*files:{}/a.txt+.5*tfds:x:a+b"),
        ("source", "tfds:x:a+b", None),
        ("validation", "tfds:x:a+files:a.tsv+files:b.tsv", "tfds:x:a+files:{}/a.tsv+files:{}/b.tsv"),
        ("tokenizer", "vocab.txt", "{}/vocab.txt"),
        ("tokenizer", "./a", "{}/a"),
        ("tokenizer", "bpe:300", None),
        ("tokenizer", "gpt2", None),
        ("tokenizer", "hub:a/b", None),
    ],
)
def test_the_form_that_reads_from_anywhere(here, monkeypatch, name, typed, form):
    monkeypatch.setenv("HOME", "/home/me")
    found = absolute_of(declared("tfds:x", **{f"data.{name}": typed}))
    assert found == ({} if form is None else {f"data.{name}": form.replace("{}", str(here))})


@pytest.mark.parametrize(
    ("typed", "form"), [("a", "{}/a"), ("a:30", "{}/a:30"), ("hub:a/b", None), ("none", None)]
)
def test_weights(here, typed, form):
    found = absolute_of(declared("tfds:x", start__weights=typed)).get("start.weights")
    assert found == (form and form.format(here))


def test_a_folder_whose_name_is_a_pattern(here, monkeypatch):
    (here / "[ab]*").mkdir()
    (here / "a").mkdir()
    for folder in ("[ab]*", "a"):
        (here / folder / "train.txt").write_text(folder)
    monkeypatch.chdir(here / "[ab]*")
    source = absolute_of(declared())["data.source"].removeprefix("files:")
    monkeypatch.chdir("/")
    assert [path.read_text() for path in files.match(source)] == ["[ab]*"]


def test_the_file_of_the_folder_where_it_began(here, monkeypatch):
    recorded = absolute_of(declared())
    monkeypatch.chdir(here.parent / "there")
    found = located(declared(), recorded)
    assert list(documents.documents(found.data, "all")) == ["here"]


def test_a_project_that_was_moved(here, monkeypatch):
    recorded = absolute_of(declared())
    (here.parent / "here").rename(here.parent / "moved")
    monkeypatch.chdir(here.parent / "moved")
    assert located(declared(), recorded) == declared()
    monkeypatch.chdir("/")
    assert located(declared(), recorded).data.source == f"files:{here}/train.txt"  # which a fault then names


def test_other_words_for_the_same_files_are_no_change(here):
    typed, recorded = declared(), absolute_of(declared())
    assert as_recorded(declared(f"files:{here}/train.txt"), typed, recorded) == typed
    other = declared(f"files:{here}/other.txt")
    assert as_recorded(other, typed, recorded) == other


def begun(here, experiment) -> Path:
    """A run that has made a step."""
    record.claim(here / "run", experiment, FACTS)
    (here / "run" / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\n')
    return here / "run"


@pytest.fixture
def run(here):
    return begun(here, declared())


def test_a_record_has_both(run, here):
    kept = record.read(run)
    assert kept["experiment"]["data"]["source"] == "files:train.txt"
    assert kept["paths"] == {"data.source": f"files:{here}/train.txt"}


def test_a_run_goes_on_from_another_folder(run, here, monkeypatch):
    before = (run / record.FILE).read_text()
    monkeypatch.chdir(here.parent / "there")
    experiment = record.experiment_of(run)
    assert experiment.data.source == f"files:{here}/train.txt"
    record.claim(run, experiment, FACTS, 10, pytest.fail)
    assert (run / record.FILE).read_text() == before
    record.claim(run, override(experiment, {"run.steps": 10**6}), FACTS, 20)
    kept = record.read(run)
    assert kept["experiment"]["data"]["source"] == "files:train.txt"
    assert kept["paths"] == {"data.source": f"files:{here}/train.txt"}
    assert [list(change["to"]) for change in kept["changes"]] == [["run.steps"]]


def test_the_same_words_elsewhere_are_compared_by_the_data(run, here, monkeypatch):
    monkeypatch.chdir(here.parent / "there")
    with pytest.raises(UsageError, match=r"data was \['a', 'b'\], now \['a', 'c'\]"):
        record.examine(run, declared(), {"data": ["a", "c"]})
    record.claim(run, declared(), FACTS, 10, pytest.fail)
    there = str(here.parent / "there")
    assert record.read(run)["paths"] == {"data.source": f"files:{there}/train.txt"}


def test_the_same_words_for_other_weights_are_refused(here, monkeypatch):
    there = here.parent / "there"
    for folder in (here, there):
        (folder / "weights").mkdir()
    experiment = declared(start__weights="weights:30")
    begun(here, experiment)
    monkeypatch.chdir(there)
    with pytest.raises(UsageError) as fault:
        record.examine(here / "run", experiment, FACTS)
    assert f"start.weights was {here}/weights:30, now {there}/weights:30" in str(fault.value)
    assert record.examine(here / "run", experiment, FACTS, allow_change=True)
    (here / "weights").rmdir()  # moved
    assert record.examine(here / "run", experiment, FACTS)
    assert not other_weights(experiment, {})


def test_a_record_without_paths_is_as_it_was_typed(run, here, monkeypatch):
    kept = record.read(run)
    del kept["paths"]
    (run / record.FILE).write_text(json.dumps(kept))
    assert record.experiment_of(run) == declared()
    assert record.examine(run, declared(), FACTS)
    with pytest.raises(UsageError, match=r"data\.source was"):
        record.examine(run, declared(f"files:{here}/train.txt"), {"data": ["a", "c"]})
    record.claim(run, declared(), FACTS, 10, pytest.fail)
    assert record.read(run)["paths"] == {"data.source": f"files:{os.getcwd()}/train.txt"}
