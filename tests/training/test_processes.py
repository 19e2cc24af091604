"""Several real processes, talking through gloo, end like one."""

import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest

from research.config.settings import override
from research.devices.startup import join_processes
from research.errors import EnvironmentFault, UsageError
from tests.training.tiny import assignments, final_arrays, quickstart, timeless

DEVICES = 4


def start(
    experiment, directory, processes: int, devices: int = DEVICES, differently: tuple[str, ...] = ()
) -> list[subprocess.Popen]:
    """`lineage train` by `processes` processes, each with its part of the devices.

    The last process also gets the arguments `differently`, which may have another directory.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices // processes)}
    command = [sys.executable, "-m", "launch", "train", experiment.name, *assignments(experiment)]
    if processes > 1:
        command += ["--coordinator", coordinator, "--processes", str(processes)]
    started = []
    for index in range(processes):
        more = differently if index == processes - 1 else ()
        more += () if "--dir" in more else ("--dir", str(directory))
        more += ("--process", str(index)) if processes > 1 else ()
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen([*command, *more], env=environment, **pipes))
    return started


def launch(experiment, directory, processes: int, devices: int = DEVICES) -> None:
    """Trains to the end."""
    started = start(experiment, directory, processes, devices)
    outputs = [process.communicate(timeout=400)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes, outputs
    assert "validation loss" in outputs[0] and not any("validation loss" in text for text in outputs[1:])


def assert_alike(experiment, one, other) -> None:
    """Rows of the same steps and losses; at the end the same model but for rounding."""
    rows, theirs = timeless(one), timeless(other)
    assert [(row["step"], row["split"]) for row in theirs] == [(row["step"], row["split"]) for row in rows]
    np.testing.assert_allclose([row["loss"] for row in theirs], [row["loss"] for row in rows], rtol=1e-5)
    arrays = final_arrays(experiment, one)
    for name, array in final_arrays(experiment, other).items():
        if name.startswith("model/") and not name.endswith("qkv/bias"):  # whose part is rounding
            assert np.linalg.norm(array - arrays[name]) <= 1e-4 * np.linalg.norm(arrays[name]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "declared",
    [
        {"compile": "pmap"},
        {"compile": "sharded", "data": 1, "fsdp": 4},
    ],
    ids=["pmap", "sharded-1-4"],
)
def test_four_processes_end_like_one(tmp_path, declared):
    """Two, also with whole parameters on each: in the test below."""
    declared = {f"parallel__{name}": value for name, value in declared.items()}
    experiment = quickstart(
        tmp_path / "corpus.txt",
        model__dropout=0.0,
        optimizer__rate__peak=1e-3,
        run__sample=8,
        **declared,
    )
    launch(experiment, tmp_path / "1", 1)
    launch(experiment, tmp_path / "4", 4)
    assert_alike(experiment, tmp_path / "1", tmp_path / "4")


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["pmap", "sharded"])
def test_two_processes_then_one_then_two_go_one_way(tmp_path, compiler):
    """A run goes on under another number of processes, each time for more steps, as one would alone.

    Each time its directory is lost, and fetched from its copy.
    """
    settings = {"model__dropout": 0.0, "optimizer__rate__peak": 1e-3, "optimizer__rate__name": "constant"}
    cadence = {"run__evaluate_every": 4, "run__checkpoint_every": 4, "run__sample": 0}
    experiment = quickstart(tmp_path / "corpus.txt", parallel__compile=compiler, **settings, **cadence)
    launch(experiment, tmp_path / "straight", 1)
    experiment = override(experiment, {"run.mirror": str(tmp_path / "copy")})
    for last, processes in ((4, 2), (8, 1), (12, 2)):
        shutil.rmtree(tmp_path / "way", ignore_errors=True)
        launch(override(experiment, {"run.steps": last}), tmp_path / "way", processes)
    assert_alike(experiment, tmp_path / "straight", tmp_path / "way")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["run.seed", "data.source", "--dir"])
def test_processes_that_disagree_refuse_and_leave_nothing(tmp_path, what):
    """Other settings or data in one process would give wrong numbers, and another directory no checkpoint."""
    experiment = quickstart(tmp_path / "corpus.txt", parallel__compile="sharded")
    text = (tmp_path / "corpus.txt").read_text()
    (tmp_path / "other.txt").write_text(text.replace("a", "e"))
    differently = {
        "run.seed": ("run.seed=1",),
        "data.source": (f"data.source=files:{tmp_path / 'other.txt'}",),
        "--dir": ("--dir", str(tmp_path / "elsewhere")),
    }[what]
    started = start(experiment, tmp_path / "run", 2, 2, differently)
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [2, 2], outputs
    expected = "has another directory of this name" if what == "--dir" else f"lineage: {what}: "
    assert all(expected in text for text in outputs), outputs
    assert not (tmp_path / "run").exists() and not (tmp_path / "elsewhere").exists()


def test_a_port_in_use_is_refused_before_jax_crashes():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        with pytest.raises(EnvironmentFault, match="cannot be used: Address already in use"):
            join_processes(f"localhost:{taken.getsockname()[1]}", 2, 0)
    with pytest.raises(UsageError, match="expected HOST:PORT"):
        join_processes("localhost", 2, 0)


BREAKS = """
import sys
from research.training.stopping.nan_check import NanCheck

def broken(self, step, sums):
    raise ValueError("row 7 is broken")

if sys.argv[sys.argv.index("--process") + 1] == "0":
    NanCheck.hold = broken
"""


@pytest.mark.slow
def test_a_process_that_fails_alone_ends_all(tmp_path, monkeypatch):
    """JAX would let the other wait for five minutes, and then abort both."""
    experiment = quickstart(tmp_path / "corpus.txt", parallel__compile="sharded", run__steps=10_000)
    (tmp_path / "breaks.py").write_text(BREAKS)
    monkeypatch.setenv("LINEAGE_IMPORT", str(tmp_path / "breaks.py"))
    started = start(experiment, tmp_path / "run", 2, 2)
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [1, 1], outputs
    assert "lineage: ValueError: row 7 is broken (" in outputs[0]
    assert "lineage: process 0: ValueError: row 7 is broken (" in outputs[1]
    assert not any("Check failure" in text for text in outputs), outputs  # of JAX's abort
