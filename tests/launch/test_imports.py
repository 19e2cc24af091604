"""Somebody else's ideas, in one file outside the repository, known to every command that needs them."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from warnings import catch_warnings, simplefilter

import jax
import pytest

from launch.__main__ import _show_our_warnings_in_a_line, run
from research.config.imports import code, loading
from research.devices import startup
from research.errors import LineageWarning
from research.runs.record import experiment_of
from tests.mostly_slow import mostly_slow
from tests.outside import forgotten_afterwards
from tests.training.tiny import final_arrays, timeless

OURS = Path(loading.__file__).parents[3]
OUTSIDE = Path(__file__).parent / "outside"
IDEAS = OUTSIDE / "ideas.py"

AS_SMALL = [  # quickstart, as ideas_tiny
    *("data.source=files:corpus.txt", "data.tokenizer=bpe:300", "data.split=tail", "data.length=32"),
    *("model.vocabulary=300", "model.context=32", "model.width=16", "model.depth=2", "model.heads=2"),
]


class Lab:
    """A folder outside the repository with `ideas.py` and a corpus, in which commands are typed."""

    def __init__(self, folder: Path, home: Path | None = None):
        self.folder, self.ideas, self.home = folder, folder / "ideas.py", home or folder / "home"
        folder.mkdir(exist_ok=True)
        shutil.copy(IDEAS, self.ideas)
        lines = (f"{n} green bottles hanging on the wall, and {n * n} is their square.\n" for n in range(900))
        (folder / "corpus.txt").write_text("".join(lines))

    def start(self, *typed: object, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "launch", *map(str, typed)],
            cwd=self.folder,
            env=os.environ
            | {"PYTHONPATH": str(OURS), "LINEAGE_HOME": str(self.home), "JAX_PLATFORMS": "cpu"}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lineage(self, *typed: object, status: int = 0, **environment: str) -> tuple[str, str]:
        """(standard output, standard error) of a command that ends with `status`."""
        process = self.start(*typed, **environment)
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, out + err
        assert "Traceback" not in err
        return out, err

    def here(self, *typed: object, status: int = 0, **environment: str) -> tuple[str, str]:
        """As `lineage`, without a process of its own: it begins with nothing imported, and leaves nothing."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, as_a_process_begins(), standard():
            patch.chdir(self.folder)
            patch.setenv("LINEAGE_HOME", str(self.home))
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(startup, "use_compilation_cache", lambda: None)  # the tests have their own place
            with redirect_stdout(out), redirect_stderr(err):
                found = run([str(word) for word in typed])
        assert found == status, out.getvalue() + err.getvalue()
        return out.getvalue(), err.getvalue()


standard = partial(jax.numpy_dtype_promotion, "standard")  # as users have it


@contextmanager
def as_a_process_begins() -> Iterator[None]:
    """With no import from outside, and our warnings in a line."""
    with pytest.MonkeyPatch.context() as patch, forgotten_afterwards(), catch_warnings():
        patch.setattr(loading, "IMPORTED", {})
        patch.setattr(code, "_loaded", {})
        patch.setattr(sys, "path", [*sys.path])
        simplefilter("default", LineageWarning)
        _show_our_warnings_in_a_line()
        known = set(sys.modules)
        yield
        for name in [name for name in sys.modules if name not in known and code.is_outside(name)]:
            if (file := getattr(sys.modules[name], "__file__", None)) and not code.is_installed(Path(file)):
                del sys.modules[name]


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def trained(lab) -> Path:
    """A run of the experiment, never stopped."""
    lab.lineage(
        "train",
        "ideas_tiny",
        f"data.source=files:{lab.folder}/corpus.txt",
        "--import",
        "ideas.py",
        "--dir",
        "trained",
    )
    return lab.folder / "trained"


@pytest.fixture
def lost(lab, trained, tmp_path) -> tuple[Lab, Path]:
    """A copy of the run, whose file of ideas may be changed; (its lab, its directory)."""
    other = Lab(tmp_path / "other", lab.home)  # where the run's programs lie compiled
    run = shutil.copytree(trained, other.folder / "run")
    record = (run / "experiment.json").read_text().replace(str(lab.folder), str(other.folder))
    (run / "experiment.json").write_text(record)
    return other, run


@pytest.mark.parametrize(
    "name, lines, registrations",
    [
        ("ideas", 60, 3),  # an optimizer, an activation, an experiment
        ("rope", 25, 1),  # positions
        ("blocks", 125, 4),
        ("late_tokens", 15, 1),  # an objective
        ("stay_close", 31, 1),  # one with a second model
        ("squares", 12, 1),  # a data scheme
        ("last_token", 15, 1),  # an evaluation task
    ],
)
def test_an_idea_is_one_short_file(name, lines, registrations):
    text = (OUTSIDE / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= lines
    assert text.count(".register(") + text.count("\n@experiment\n") == registrations


@pytest.mark.parametrize(
    "typed, environment",
    mostly_slow(
        [
            (["--import", "ideas.py", "show", "ideas_tiny", "--json"], {}),
            (["show", "ideas_tiny", "--json", "--import=ideas.py"], {}),
            (["show", "--import", "ideas", "ideas_tiny", "--json"], {}),
            (["show", "ideas_tiny", "--json"], {loading.VARIABLE: "ideas.py"}),
        ]
    ),
)
def test_it_is_named_anywhere_on_the_command_line_or_in_the_environment(lab, typed, environment):
    shown = json.loads(lab.lineage(*typed, **environment)[0])
    assert shown["name"] == "ideas_tiny" and shown["optimizer"]["name"] == "sign_momentum"


def test_list_shows_it_and_what_is_missing_is_one_line(lab):
    assert "ideas_tiny" in lab.lineage("list", "--import", "ideas.py")[0]
    for typed, message in (
        (["list", "--import", "no.py"], "--import no.py: no such file"),
        (["list", "--import"], "--import: expected a module or a file"),
        (["show", "ideas_tiny"], "ideas_tiny: no such experiment"),
    ):
        _, err = lab.lineage(*typed, status=2)
        assert err.startswith(f"lineage: {message}") and err.count("\n") == 1


def test_a_slurm_job_imports_it(lab):
    typed = [
        "train",
        "ideas_tiny",
        "--import",
        "ideas.py",
        "--dir",
        "queued",
        "--executor",
        "slurm",
        "--dry-run",
    ]
    assert f"--import {lab.ideas}" in lab.lineage(*typed)[0]


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_run(lab, trained, registries):
    """`resume` is typed without the import: the record keeps it."""
    killed = lab.folder / "killed"
    source = f"data.source=files:{lab.folder}/corpus.txt"
    process = lab.start("train", "ideas_tiny", source, "--import", "ideas.py", "--dir", "killed")
    deadline = time.monotonic() + 120
    while not (killed / "checkpoints" / "40").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and "120" not in os.listdir(killed / "checkpoints")
    out, _ = lab.lineage("resume", "killed")
    assert "continuing from step" in out
    assert timeless(killed) == timeless(trained)
    experiment = experiment_of(trained)  # which imports the ideas here too
    ours, theirs = final_arrays(experiment, killed), final_arrays(experiment, trained)
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


@pytest.mark.slow
def test_processes_that_make_batches_import_it(lab, trained):
    typed = ["train", "ideas_tiny", f"data.source=files:{lab.folder}/corpus.txt", "data.workers=2"]
    lab.lineage(*typed, "--dir", "workers", **{loading.VARIABLE: "ideas"})
    assert timeless(lab.folder / "workers") == timeless(trained)


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_workers_sweep_it(lab):
    typed = ["ideas_tiny", f"data.source=files:{lab.folder}/corpus.txt", "run.steps=20", "run.sample=0"]
    swept = ["--over", "optimizer.name=sign_momentum,adamw"]
    lab.lineage("sweep", *typed, *swept, "--import", "ideas.py", "--dir", "sweep", "--workers", 2)
    facts = json.loads(lab.here("status", "sweep", "--json")[0])
    assert facts["counts"]["finished"] == 2, facts
    assert {trial["settings"]["optimizer.name"] for trial in facts["trials"]} == {"sign_momentum", "adamw"}
    assert "sign_momentum" in lab.here("table", "sweep")[0]
    lab.here("report", "sweep")


@pytest.mark.slow
def test_commands_that_read_the_run_import_it_unasked(lab, trained):
    row = json.loads(lab.here("evaluate", "trained", "--task", "validation", "--json")[0])
    last = [row for row in timeless(trained) if row["split"] == "validation"][-1]
    assert row["validation"]["metrics"]["loss"] == pytest.approx(last["loss"], rel=1e-6)
    assert lab.here("generate", "trained", "--prompt", "99 green", "--tokens", 8)[0]
    typed = ["export", "trained", "exported"]  # the activation is known again
    assert "Transformers' gpt2 has only gelu_erf" in lab.here(*typed, status=2)[1]
    lab.here("average", "trained")
    assert lab.here("generate", "trained/average", "--prompt", "99 green", "--tokens", 8)[0]
    started = ["train", "quickstart", *AS_SMALL, "start.weights=trained", "run.steps=1", "--dir", "started"]
    assert "start.weights=trained decides model.activation=softsign_gelu" in lab.here(*started)[0]
    assert "trained" in lab.here("status", "trained")[0]


@pytest.mark.slow
def test_without_the_file_one_line_names_the_run_the_file_and_the_option(lost):
    lab, _ = lost
    lab.ideas.unlink()
    for typed in (["resume"], ["evaluate", "--task", "validation"], ["generate"], ["export", "out"]):
        command, *more = typed
        _, err = lab.here(command, "run", *more, status=2)
        assert err.startswith("lineage: run: model.activation=softsign_gelu: not known")
        assert f"made with {lab.ideas} (no such file); pass its new location" in err and err.count("\n") == 1
    (lab.folder / "moved").mkdir()
    shutil.copy(IDEAS, lab.folder / "moved" / "ideas.py")
    _, err = lab.here("generate", "run", "--tokens", 4, "--import", "moved/ideas.py")
    assert "ideas" not in err
    lab.here("resume", "run", "run.steps=122", "--import", "moved/ideas.py")
    lab.here("resume", "run")  # the record knows the new place


@pytest.mark.slow
def test_a_changed_file_warns_who_reads_and_refuses_who_continues(lost):
    lab, run = lost
    text = lab.ideas.read_text()
    lab.ideas.write_text(text + "\n# a second thought\n")
    assert "ideas" not in lab.here("generate", "run", "--tokens", 4)[1]
    lab.ideas.write_text(text.replace("/ 2", "/ 3"))
    out, err = lab.here("generate", "run", "--tokens", 4)
    assert out and err.startswith(f"lineage: run: --import {lab.ideas} was ") and err.count("\n") == 1
    before = (run / "experiment.json").read_text()
    _, err = lab.here("resume", "run", "run.steps=124", status=2)
    assert f"holds another run: --import {lab.ideas} was " in err and "--allow-change" in err
    assert err.count("\n") == 1 and (run / "experiment.json").read_text() == before
    lab.here("resume", "run", "run.steps=124", "--allow-change")
    (change,) = json.loads((run / "experiment.json").read_text())["changes"]
    assert f"--import {lab.ideas}" in change["from"]
    lab.here("resume", "run")


@pytest.mark.slow
def test_parts_of_all_kinds_serve_together(lab):
    """Positions, activation, block, objective, data scheme, optimizer, evaluation task, from their files."""
    files = {loading.VARIABLE: ",".join(str(path) for path in sorted(OUTSIDE.glob("*.py")))}
    parts = ["model.positions=rope", "model.activation=softsign_gelu", "objective.name=late_tokens"]
    parts += ["model.block=experts", "model.own.block.number=3"]
    more = ["optimizer.name=sign_momentum", "data.source=squares:900", "data.holdout=0.1", "run.steps=4"]
    lab.here("train", "quickstart", *AS_SMALL, *parts, *more, "--dir", "parts", **files)
    assert lab.here("generate", "parts", "--tokens", 4)[0]  # every file is in the record
    assert "last_token" in lab.here("evaluate", "parts")[0]
    asked = ["--task", "last_token", "--data", "corpus.txt", "--limit", 20, "--json"]
    facts = json.loads(lab.here("evaluate", "parts", *asked)[0])
    assert 0 <= facts["last_token"]["metrics"]["accuracy"] <= 100
