"""A path is a path: nothing that a file system lets into a name means anything to us or to a library."""

import os
import re
import shlex
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.__main__ import run as launched
from launch.executors import slurm as executor
from research.data.sources import files
from research.devices import compilers
from research.errors import EnvironmentFault, UsageError
from research.io.plain_path import plain_path
from research.runs.checkpoints import files as checkpoint_files
from research.runs.checkpoints import integrity
from research.runs.checkpoints import store as checkpoint
from research.runs.checkpoints.store import Checkpoints
from research.sweeping.record import open_sweep
from research.sweeping.status import sweep_status
from research.sweeping.study.storage import storage_of
from research.training.loop import train
from research.weights import run as runs
from tests.sweeping.pretended import declared, run, training, trials
from tests.training.test_processes import launch
from tests.training.tiny import assignments, final_arrays, quickstart

NASTY = "[x] a\\b ?*{0}%20%j ä日本\n#'\"$~:;"
NAMES = [NASTY, "gs:", os.fsdecode(b"not UTF-8 \xff")]
MORE = ["[x]", "a\\b", "a b ", "ä日本", "a\nb", "*", "?", "{0}", "50%", "#", "-x", "~", "'\"$"]
NAMES += [pytest.param(name, marks=pytest.mark.slow) for name in MORE]
ONE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
SMALL = {"run__steps": 4, "run__checkpoint_every": 2, "run__evaluate_every": 2, "model__depth": 1}


@pytest.fixture(params=NAMES, ids=ascii)
def odd(request, tmp_path):
    folder = tmp_path / request.param
    folder.mkdir()
    return folder


def state(step: int) -> dict:
    return {
        "weights": jnp.arange(9_999.0) * step,
        "model/bias": jnp.float32(step),
        "key": jax.random.key(step),
    }


def restored(folder, step: int) -> dict:
    abstract = jax.eval_shape(partial(state, step))
    with Checkpoints(folder, 2) as checkpoints:
        found = checkpoints.restore(step, abstract, compilers.everywhere(ONE, abstract))
    return found | {"key": jax.random.key_data(found["key"])}


def test_checkpoints_are_saved_deleted_and_restored(odd):
    with Checkpoints(odd / "checkpoints", 2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, state(step))
    assert integrity.steps(odd / "checkpoints") == [2, 3]
    assert integrity.latest_intact_step(odd / "checkpoints") == 3
    expected = state(3) | {"key": jax.random.key_data(jax.random.key(3))}
    for name, array in restored(odd / "checkpoints", 3).items():
        assert np.array_equal(array, expected[name]), name
    assert [path.name for path in odd.parent.iterdir()] == [odd.name]  # nothing went astray


@pytest.mark.parametrize("typed", ["../run", "./run", "link/../run", "../here/./run/../run"])
def test_a_typed_path_may_lead_up(typed, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere" / "there").mkdir(parents=True)
    (tmp_path / "here" / "link").symlink_to(tmp_path / "elsewhere" / "there")
    monkeypatch.chdir(tmp_path / "here")
    with Checkpoints(Path(typed), 2) as checkpoints:
        checkpoints.save(1, state(1))
    assert np.array_equal(restored(Path(typed), 1)["weights"], state(1)["weights"])
    holder = {"../run": "run", "link/../run": "elsewhere/run"}.get(typed, "here/run")
    assert (tmp_path / holder / "1").is_dir()


def test_a_plain_name_lasts_as_long_as_it_is_needed(odd, tmp_path):
    with plain_path(odd) as path:
        (path / "file").write_text("")
        assert (odd / "file").exists() and not set(str(path)) & set("[]\\*?:{}%")
    assert odd.is_dir() and (path.parent.exists() == (path == odd))
    with plain_path(tmp_path) as same:
        assert same == tmp_path


def test_a_plain_name_is_had_where_temporary_files_have_none(tmp_path, monkeypatch):
    (odd := tmp_path / NASTY).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    with plain_path(odd) as path:
        assert path.samefile(odd) and "[" not in str(path)


def test_a_checkpoint_that_cannot_be_restored_is_not_reported_as_saved(tmp_path, monkeypatch):
    """As it was when Orbax was handed a name with brackets: it left the arrays where it does not look."""
    from contextlib import nullcontext

    folder = tmp_path / "[x]" / "checkpoints"
    monkeypatch.setattr(checkpoint, "plain_path", lambda path: nullcontext(path.absolute()))
    message = r"checkpoint 1 is not saved, it could not be restored: .*; earlier checkpoints are intact$"
    with pytest.raises(EnvironmentFault, match=message) as fault, Checkpoints(folder, 2) as checkpoints:
        checkpoints.save(1, state(1))
    assert "\n" not in str(fault.value) and integrity.steps(folder) == []


@pytest.fixture
def saved(tmp_path):
    with Checkpoints(tmp_path, 1) as checkpoints:
        checkpoints.save(1, state(1) | {"noise": jax.random.normal(jax.random.key(0), (100, 100))})
    return tmp_path / "1"


SHAPES = {"weights": (9_999,), "model/bias": (), "key": (2,), "noise": (100, 100)}


def largest(folder):
    return max((path for path in folder.rglob("d/*")), key=lambda path: path.stat().st_size)


def cut(folder):
    os.truncate(largest(folder), 100)


def remove(folder):
    largest(folder).unlink()


def forget(folder):
    (folder / checkpoint_files.ITEM / "manifest.ocdbt").unlink()


def lose_the_names(folder):
    (folder / checkpoint_files.ITEM / "_METADATA").unlink()


@pytest.mark.parametrize("harm", [cut, remove, forget, lose_the_names], ids=lambda harm: harm.__name__)
def test_what_a_checkpoint_lacks_is_seen_without_reading_it(saved, harm):
    assert checkpoint_files.find_missing(saved, SHAPES) is None
    harm(saved)
    assert checkpoint_files.find_missing(saved, SHAPES)


@pytest.mark.parametrize(
    "shapes, message",
    [
        ({"more": ()}, "more is not in it"),
        ({"noise": (100, 99)}, r"noise is \(100, 100\), declared \(100, 99\)"),
    ],
)
def test_a_checkpoint_of_other_arrays_is_seen(saved, shapes, message):
    assert re.fullmatch(message, checkpoint_files.find_missing(saved, SHAPES | shapes))


def test_an_array_without_one_of_its_parts_is_seen(saved, monkeypatch):
    entries = dict(checkpoint_files._entries(saved / checkpoint_files.ITEM))
    entries.pop("noise/0.0")
    monkeypatch.setattr(checkpoint_files, "_entries", lambda arrays: entries.items())
    assert checkpoint_files.find_missing(saved, SHAPES) == "noise has 0 of 1 parts"


@pytest.mark.slow
def test_a_run_trains_resumes_and_is_read_and_averaged(tmp_path, monkeypatch):
    (odd := tmp_path / NASTY).mkdir()
    monkeypatch.setenv("LINEAGE_HOME", str(odd / "home"))
    experiment = quickstart(odd / "corpus.txt", **SMALL, run__keep=2)
    train(experiment, odd / "run", lambda line: None, should_stop=lambda row: row["step"] == 2)
    assert integrity.steps(odd / "run" / "checkpoints") == [2]
    assert train(experiment, odd / "run", lambda line: None).finished
    mean, steps = runs.average(odd / "run", None)
    newest = runs.read(odd / "run")
    assert steps == [2, 4] and mean.arrays.keys() == newest.arrays.keys()
    assert {path.name for path in tmp_path.iterdir()} == {NASTY}


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_sweep_keeps_its_study_in_its_directory(odd, storage):
    open_sweep(odd / "sweep", declared(odd, trials=2), storage)
    storage_of.cache_clear()
    assert run(odd / "sweep", training())
    assert sweep_status(odd / "sweep").over and len(trials(odd / "sweep")) == 2
    assert any((odd / "sweep").glob("study.*"))
    assert [path.name for path in odd.parent.iterdir()] == [odd.name]


def test_a_data_file_is_found_by_its_name(odd):
    for name in ("corpus.txt", odd.name.strip("*?") + "named.txt"):
        (path := odd / name).write_text("text")
        assert files.match(str(path)) == [path]
    assert files.match(f"{odd}/c*.txt") == [odd / "corpus.txt"]
    with pytest.raises(UsageError, match="a folder; expected files"):
        files.match(str(odd))


def test_what_brackets_match_comes_before_what_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a[1].txt", "b[1].txt", "b1.txt"):
        (tmp_path / name).write_text(name)
    assert [path.name for path in files.match("a[1].txt")] == ["a[1].txt"]
    assert [path.name for path in files.match("b[1].txt")] == ["b1.txt"]
    assert [path.name for path in files.match("b[[]1].txt")] == ["b[1].txt"]
    with pytest.raises(UsageError, match="no such file"):
        files.match("c[1].txt")


def test_a_slurm_script_says_a_directory_to_shell_and_to_slurm(odd):
    script = executor.workers_script(odd, "x", 2, executor.SlurmResources())
    assert script.startswith("#!/bin/bash\n#SBATCH ")
    directives = re.findall("^#SBATCH (.*)$", script, re.MULTILINE)
    for directive in directives:  # as sbatch reads a line: a backslash escapes, between quotes too
        assert "\\" not in directive and len(shlex.split(directive)) == 1
    stand_in = script.replace(f"{sys.executable} -m launch work", "printf %s")
    environment = os.environ | {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1"}
    (odd / "logs").mkdir()
    done = subprocess.run(["bash"], input=os.fsencode(stand_in), env=environment, capture_output=True)
    logs = [path.read_bytes() for path in odd.glob("logs/slurm-7_1.log")]
    redirected = "\\" in odd.name or "\n" in odd.name
    assert (logs if redirected else [done.stdout]) == [os.fsencode(odd)], done.stderr


def called(capsys, commands: list[list[str]]) -> str:
    """The output of commands in this process."""
    statuses, shown = [launched(typed) for typed in commands], capsys.readouterr()
    assert not any(statuses), ascii((statuses, shown))
    return shown.out


ONE_AFTER_ANOTHER = """
import sys
from launch.__main__ import main
arguments = sys.argv[1:]
while arguments:
    end = arguments.index(";")
    sys.argv[1:], arguments = arguments[:end], arguments[end + 1 :]
    try:
        main()
    except SystemExit as exit:
        if exit.code:
            raise
"""


def typed_in_a_shell(commands: list[list[str]]) -> str:
    """The output of commands in a process of their own, which decodes its arguments itself."""
    typed = [word for command in commands for word in (*command, ";")]
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_ANOTHER, *typed],
        capture_output=True,
        text=True,
        errors="surrogateescape",
    )
    assert done.returncode == 0, ascii(done.stdout + done.stderr)  # of any name: reports are UTF-8
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("odd", [NASTY, NAMES[2]], ids=ascii, indirect=True)  # every character of MORE
def test_every_command_takes_a_directory_of_any_name(odd, monkeypatch, capsys):
    monkeypatch.setenv("LINEAGE_HOME", str(odd / "home"))
    experiment, directory = quickstart(odd / "corpus.txt", **SMALL), odd / "run"
    do = partial(called, capsys) if odd.name == NASTY else typed_in_a_shell
    over = ["--over", "optimizer.rate.peak=0.01,0.001", "--dir", str(odd / "sweep")]
    do([["train", experiment.name, *assignments(experiment), "--dir", str(directory)]])
    do(
        [
            ["resume", str(directory), "run.steps=6"],
            ["generate", str(directory), "--tokens", "3"],
            ["generate", f"{directory}:4", "--tokens", "3"],
            ["evaluate", str(directory), "--task", "wikitext2", "--data", str(odd / "corpus.txt")],
            ["average", str(directory), "--last", "2", "--out", str(odd / "mean")],
            ["generate", str(odd / "mean"), "--tokens", "3"],
            ["export", str(directory), str(odd / "exported")],
            ["generate", str(odd / "exported"), "--tokens", "3"],
            ["report", str(directory)],
            ["status", str(directory)],
            ["table", str(directory)],
            ["sweep", experiment.name, *assignments(experiment), *over],
            ["report", str(odd / "sweep")],
            ["table", str(odd / "sweep")],
        ]
    )
    assert "2 finished" in do([["status", str(odd / "sweep")]])
    assert [path.name for path in odd.parent.iterdir()] == [odd.name]


@pytest.mark.slow
def test_several_processes_save_into_a_directory_of_any_name(tmp_path):
    experiment = quickstart(tmp_path / "corpus.txt", **SMALL, parallel__compile="sharded", parallel__fsdp=4)
    launch(experiment, tmp_path / NASTY, 2)
    final_arrays(experiment, tmp_path / NASTY)


@pytest.mark.slow
def test_slurm_finds_a_job_and_writes_its_log_in_a_directory_of_any_name(slurm, odd, monkeypatch):
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    (odd / "logs").mkdir()
    script = executor.workers_script(odd, "x", 1, executor.SlurmResources(cpus=1))
    job = executor.submit(script.replace(f"{sys.executable} -m launch work", "sleep 1; printf %s"))
    assert list(executor.jobs(odd)) == [f"{job}_0"]
    while executor.jobs(odd):
        time.sleep(0.2)
    assert (odd / f"logs/slurm-{job}_0.log").read_bytes() == os.fsencode(odd)
