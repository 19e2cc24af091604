"""The commands as typed: what they print, how they refuse."""

import json
import re
import shlex
import subprocess
import sys

import jax
import pytest

import experiments
from research.config.imports import loading
from research.config.settings import from_json, override
from research.devices import startup
from research.runs import record
from tests.training.tiny import assignments, quickstart


def test_list_names_every_experiment(lineage):
    status, out, _ = lineage("list")
    assert status == 0
    names = experiments.names() + experiments.sweep_names()
    assert [line.split()[0] for line in out.splitlines()] == names
    assert json.loads(lineage("list", "--json")[1]).keys() == set(names)


def test_list_is_instant():
    """Not a timing: what costs time is never imported. Half a second is what it must never take."""
    code = (
        "import sys; from launch.__main__ import run; run(['list']);"
        "assert not {'jax', 'flax', 'numpy', 'rich', 'tensorflow_datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_show_resolves(lineage):
    status, out, _ = lineage("show", "gpt2_small", "run.steps=6e5", "--json")
    assert status == 0 and from_json(json.loads(out)).run.steps == 600_000
    _, out, _ = lineage("show", "gpt2_small", "run.steps=6e5")
    assert "600000  (declared 18865)" in out


def test_params_add_up(lineage):
    status, out, _ = lineage("params", "gpt2_small", "--json")
    parameters = json.loads(out)
    assert status == 0 and parameters["total"] == 124_439_808
    assert sum(component["count"] for component in parameters["components"]) == parameters["total"]
    assert "124,439,808" in lineage("params", "gpt2_small")[1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "gpt2_smal", "--dir", "D"], "did you mean gpt2_small"),
        (["trian"], "train"),
        (["status"], "runs: not a run"),
        (["train", "quickstart", "optimizer.rate.peek=1", "--dir", "D"], "did you mean optimizer.rate.peak"),
        (["train", "quickstart", "model.heads=7", "--dir", "D"], "expected a divisor of model.width"),
        (["train", "quickstart", "heads", "--dir", "D"], "a.b=value"),
        (
            ["train", "quickstart", "data.source=files:no.txt", "data.split=tail", "--dir", "D"],
            "no such file",
        ),
        (["train", "quickstart", "data.source=nonsense", "--dir", "D"], "tfds:NAME"),
        (["batch", "quickstart", "--step", "100000"], "run.steps - 1"),
        (["resume", "."], "experiment.json"),
        (["train", "..", "--dir", "D"], "..: a directory, not an experiment; lineage show .., status .."),
        (["show", "quickstart", "parallel.compile=jit", "parallel.data=3"], "parallel.compile=jit uses one"),
        (["show", "quickstart", "--jsn"], "--jsn"),
        (
            ["train", "quickstart", "--train-file", "A", "--dir", "D", "--train-file=B"],
            "--train-file A and --train-file B: expected this option once",
        ),
    ],
)
def test_mistakes_are_one_line_and_status_2(lineage, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = lineage(*arguments)
    assert status == 2 and message in err and err.count("\n") == 1 and "Traceback" not in err
    assert list(tmp_path.iterdir()) == [], "something half-written"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("bad.jsonl", b'{"text": "fine"}\n{"text": \n', "bad.jsonl:2: not a JSON object"),
        ("empty.txt", b"", "no document"),
        ("short.txt", b"to be or not to be, " * 3, "data.length=64"),
        ("bytes.txt", b"caf\xe9", "0xe9 is not UTF-8"),
    ],
)
def test_bad_data_is_met_at_the_door(lineage, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    source = f"data.source=files:{tmp_path / name}"
    status, _, err = lineage(
        "train", "gpt2_shakespeare_char_cpu", source, "model.vocabulary=65", "--dir", tmp_path / "D"
    )
    assert status == 2 and message in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_place_that_cannot_be_written_is_status_1(lineage, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = lineage("train", "quickstart", "--dir", tmp_path / "file" / "run")
    assert status == 1 and "cannot be written" in err and err.count("\n") == 1


def test_a_directory_that_is_no_run_is_left_alone(lineage, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    status, _, err = lineage("train", "quickstart", "--dir", tmp_path)
    assert status == 2 and "not a run" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_internal_fault_is_one_line_too(lineage, monkeypatch):
    monkeypatch.setattr(experiments, "get", lambda name: 1 / 0)
    status, _, err = lineage("show", "quickstart")
    assert status == 1 and "ZeroDivisionError" in err and err.count("\n") == 1
    assert "Traceback" in lineage("show", "quickstart", "--debug")[2]


@jax.numpy_dtype_promotion("standard")  # Optax's Adam raises a float to an integer
def test_prepare_train_batch_resume(lineage, tmp_path, monkeypatch):
    """A user's path, on a tiny corpus."""
    monkeypatch.setattr(startup, "use_compilation_cache", lambda: None)  # the tests have their own place
    experiment = quickstart(tmp_path / "corpus.txt", run__steps=4, run__sample=8)
    typed = assignments(experiment)
    status, out, _ = lineage("prepare", "quickstart", *typed, "--json")
    facts = json.loads(out)
    assert status == 0
    assert facts["train"]["tokens"] > 1000 and 0 < facts["validation"]["unigram_entropy"] < 5.7

    status, out, _ = lineage("batch", "quickstart", *typed, "--step", 2, "--json")
    batch = json.loads(out)
    assert [len(row) for row in batch["tokens"]] == [32] * 8
    assert [row[1:] for row in batch["tokens"]] == [row[:-1] for row in batch["targets"]]
    assert "green bottles" in lineage("batch", "quickstart", *typed, "--step", 2)[1]

    status, out, _ = lineage("train", "quickstart", *typed, "--dir", tmp_path / "run")
    assert status == 0
    for message in ("validation loss", "unigram entropy", "bits per byte", "sample", str(tmp_path / "run")):
        assert message in out
    assert out.startswith(f"quickstart: 4 steps in {tmp_path / 'run'}\n") and out.count("\nsample\n") == 1
    *results, _, next_ = out.partition("validation loss   ")[2].partition("\nnext\n")
    for command in next_.splitlines():  # each is one that this command line knows
        words = shlex.split(command.partition("   ")[0])
        assert words[0] == "lineage" and lineage(words[1], "--help")[0] == 0
    assert len(next_.splitlines()) == 3 and f"lineage generate {tmp_path / 'run'}" in next_
    status, again, _ = lineage("resume", tmp_path / "run")
    assert (
        status == 0
        and again.partition("validation loss   ")[2].partition("run  ")[0] == results[0].partition("run  ")[0]
    )
    first, _, last = again.partition("\nnext\n")[2].splitlines()
    assert first.split() == next_.splitlines()[0].split() and "run.steps=8" in last
    assert f"data.source=files:{tmp_path}/corpus.txt" in next_.splitlines()[-1]  # the same data once more
    _, reached, _ = lineage("resume", tmp_path / "run", "run.stop_at=loss<99")
    assert "run.steps=8 run.stop_at=none" in reached.splitlines()[-1]  # or it would be reached at once


def test_doctor_tells_the_devices(lineage):
    status, out, _ = lineage("doctor", "--json")
    facts = json.loads(out)
    assert status == 0 and facts["devices"] == ["cpu"] * 8 and facts["versions"]["jax"]
    assert facts["home"] in lineage("doctor")[1]


def test_doctor_lists_imports(lineage, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("")
    monkeypatch.setitem(loading.FAILED, "bad_lab", "ImportError: no")
    out = lineage("doctor", "--import", tmp_path / "mine.py")[1]
    assert f"import    {tmp_path}/mine.py: loaded\nimport    bad_lab: does not load: ImportError: no\n" in out


def test_show_takes_a_run(lineage, tmp_path):
    experiment = override(experiments.get("quickstart"), {"run.steps": 77})
    record.claim(tmp_path / "run", experiment, {"data": ["a", "b"]})
    status, out, _ = lineage("show", tmp_path / "run")
    assert status == 0 and out.startswith("A run of quickstart.") and re.search(r"\nrun\.steps +77\n", out)


def test_the_end_of_a_file_is_no_interrupt(lineage, monkeypatch):
    """Typer takes any EOFError, as of a file that is cut off, for the end of the terminal's input."""

    def ends():
        raise EOFError("a file is cut off")

    monkeypatch.setattr(experiments, "names", ends)
    status, _, err = lineage("list")
    assert status == 1 and err.strip() == "lineage: EOFError: a file is cut off"
