"""Whatever befalls a run's directory, it goes on, says so, and ends as if nothing had been."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from research import weights
from research.config.settings import override
from research.devices import processes
from research.errors import EnvironmentFault, UsageError
from research.models.parameters import by_path
from research.runs import record
from research.runs.checkpoints.integrity import find_corruption, steps
from research.runs.state import initial_state
from research.training import loop
from research.training.loop import train
from tests.mostly_slow import mostly_slow
from tests.training.test_loop import assert_same_run
from tests.training.tiny import assignments, quickstart, timeless


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run with checkpoints at 4, 8 and 12; (experiment, directory)."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINEAGE_HOME", str(folder / "home"))
        experiment = quickstart(folder / "corpus.txt", run__keep=3)
        train(experiment, folder / "run", print)
    return experiment, folder / "run"


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    """The same as if killed after step 8; (experiment, directory, the finished one's)."""
    experiment, finished = whole
    monkeypatch.setenv("LINEAGE_HOME", str(finished.parent / "home"))
    directory = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(directory / "checkpoints/12")
    return experiment, directory, finished


def truncate_newest(directory):
    (path,) = (directory / "checkpoints/8/default/d").iterdir()
    path.write_bytes(path.read_bytes()[:-9])


def truncate_all(directory):
    truncate_newest(directory)
    (directory / "checkpoints/4/manifest.json").unlink()


@pytest.mark.slow
@pytest.mark.parametrize(
    "befall, message",
    mostly_slow(
        [
            (truncate_newest, ["checkpoint 8 is damaged", "continuing from step 4 of 12"]),
            (truncate_all, ["checkpoint 8 is damaged", "checkpoint 4 is damaged"]),
        ]
    ),
)
def test_damaged_checkpoints_cost_time_alone(run, befall, message):
    experiment, directory, finished = run
    befall(directory)
    lines = []
    train(experiment, directory, lines.append)
    assert all(any(text in line for line in lines) for text in message), lines
    assert_same_run(experiment, finished, directory)
    assert find_corruption(directory / "checkpoints/8") is None


def test_without_metrics_it_says_so_and_goes_on(run):
    experiment, directory, finished = run
    (directory / "metrics.jsonl").unlink()
    lines = []
    train(experiment, directory, lines.append)
    assert any("metrics.jsonl is gone: it begins again after step 8" in line for line in lines)
    assert timeless(directory) == [row for row in timeless(finished) if row["step"] > 8]
    (directory / "metrics.jsonl").unlink()
    assert train(experiment, directory, print).validation["step"] == 12


def test_other_arrays_are_refused_in_a_line(run):
    experiment, directory, _ = run
    with pytest.raises(UsageError, match=r"checkpoints/8: not a state of this declaration: m\S+ is \("):
        train(override(experiment, {"model.width": 32}), directory, print, allow_change=True)
    assert steps(directory / "checkpoints") == [4, 8]


@pytest.mark.slow
def test_keeps_every_nth_the_best_and_the_last(run, tmp_path):
    experiment, _, _ = run
    keeping = {"run.keep": 1, "run.keep_every": 6, "run.checkpoint_every": 1, "run.evaluate_every": 2}
    # At this rate it gets worse after a few steps, so that the best is neither the last nor a sixth.
    wild = keeping | {"run.keep_best": "loss", "optimizer.rate.peak": 1.0}
    train(override(experiment, wild), tmp_path / "kept", print)
    losses = {row["step"]: row["loss"] for row in timeless(tmp_path / "kept") if row["split"] == "validation"}
    del losses[0]
    assert set(steps(tmp_path / "kept/checkpoints")) == {6, 12, min(losses, key=losses.get)}
    with pytest.raises(UsageError, match=r"run\.keep_best=lost: .* did you mean loss\?"):
        train(override(experiment, wild | {"run.keep_best": "lost"}), tmp_path / "lost", print)


def test_keeps_named_steps_from_the_initial_state_on(run, tmp_path):
    """Further steps may be added; those no longer named would be deleted, and that is refused."""
    experiment, _, _ = run
    keeping = {"run.keep": 1, "run.checkpoint_every": 0, "run.keep_at": (0, 1, 5)}
    train(override(experiment, keeping), tmp_path / "kept", print)
    kept = tmp_path / "kept/checkpoints"
    assert set(steps(kept)) == {0, 1, 5, 12}
    first = weights.read(f"{tmp_path / 'kept'}:0").arrays
    state = initial_state(experiment)
    for name, array in by_path(state.model).items():
        np.testing.assert_allclose(first[name], array, rtol=1e-6)  # compiled, and not
    more = {"run.steps": 14, "run.keep_at": (0, 1, 5, 13)}
    train(override(experiment, keeping | more), tmp_path / "kept", print)
    assert set(steps(kept)) == {0, 1, 5, 13, 14}
    with pytest.raises(UsageError, match=r"keep_at was 0,1,5,13, now 1,14; .* --allow-change"):
        train(override(experiment, keeping | {"run.steps": 14, "run.keep_at": (1, 14)}), kept.parent, print)
    with pytest.raises(UsageError, match=r"run\.keep_at=3: expected multiples of run\.steps_per_call=2"):
        override(experiment, {"run.keep_at": (3,), "run.steps_per_call": 2})


def test_saves_by_the_clock_too(run, tmp_path, monkeypatch):
    experiment, _, _ = run
    clock = iter(range(10_000))  # a second a look: one at the start, one a step, one after each save
    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    by_clock = {"run.checkpoint_every": 0, "run.checkpoint_minutes": 5 / 60, "run.keep": 9}
    train(override(experiment, by_clock), tmp_path / "by-clock", print)
    assert steps(tmp_path / "by-clock/checkpoints") == [5, 10, 12]


def test_an_average_is_the_mean_and_starts_another(run, tmp_path):
    experiment, directory, _ = run
    assert weights.average(directory, tmp_path / "mean") == [4, 8]
    mean = weights.read(tmp_path / "mean").arrays
    one, other = (weights.read(f"{directory}:{step}").arrays for step in (4, 8))
    for name, array in mean.items():
        np.testing.assert_allclose(array, (one[name].astype(np.float64) + other[name]) / 2, rtol=1e-6)
    warm = override(experiment, {"start.weights": str(tmp_path / "mean"), "run.steps": 1})
    train(warm, tmp_path / "warm", print)
    for step, match in ((5, "no such checkpoint; there are 4, 8"), (12, "no such checkpoint")):
        with pytest.raises(UsageError, match=match):
            weights.read(f"{directory}:{step}")
    with pytest.raises(UsageError, match=r"expected 5 checkpoints, found 2 \(step 4, 8\);"):
        weights.average(directory, tmp_path / "five", 5)
    with pytest.raises(UsageError, match="nowhere: not a run"):
        weights.average(tmp_path / "nowhere", tmp_path / "none")
    truncate_newest(directory)
    with pytest.raises(UsageError, match=rf"checkpoints/8: cannot be read, .* {directory}:4 is there"):
        weights.read(directory)


@pytest.mark.slow
def test_from_eight_devices_to_four_to_one_to_eight(tmp_path, monkeypatch):
    """Other meshes and compilers on the way: the same batches, the same losses but for rounding."""
    settings = {"model__dropout": 0.0, "optimizer__rate__peak": 1e-3, "run__sample": 0}
    experiment = quickstart(
        tmp_path / "corpus.txt", parallel__compile="sharded", run__evaluate_every=3, **settings
    )
    hashes, devices, prefetch_to_device = {}, jax.devices(), loop.prefetch_to_device

    def hashing(*arguments):
        for numbers, batch in prefetch_to_device(*arguments):
            leaves = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(batch))
            hashes[numbers[-1]] = hashlib.sha256(leaves).hexdigest()
            yield numbers, batch

    def hashed(declared, directory, last):
        """Trains to step `last`; the hashes of the batches by step."""
        hashes.clear()
        train(declared, directory, print, should_stop=lambda row: row["step"] >= last)
        return dict(hashes)

    monkeypatch.setattr(loop, "prefetch_to_device", hashing)
    straight = hashed(experiment, tmp_path / "straight", 12)
    for last, count, changes in (
        (3, 8, {"parallel.fsdp": 4, "parallel.tensor": 2}),
        (6, 4, {"parallel.compile": "pmap"}),
        (9, 1, {"parallel.compile": "jit"}),
        (12, 8, {"parallel.data": 2, "parallel.fsdp": 4}),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(jax, "devices", lambda count=count: devices[:count])
            patch.setattr(jax, "local_devices", lambda count=count: devices[:count])
            patch.setattr(jax, "local_device_count", lambda count=count: count)
            batches = hashed(override(experiment, changes), tmp_path / "way", last)
        assert batches == {step: straight[step] for step in range(last - 2, last + 1)}
    rows, theirs = timeless(tmp_path / "straight"), timeless(tmp_path / "way")
    assert [row["step"] for row in theirs] == [row["step"] for row in rows]
    np.testing.assert_allclose([row["loss"] for row in theirs], [row["loss"] for row in rows], atol=1e-5)
    changed = [change["to"] for change in record.read(tmp_path / "way")["changes"]]
    assert [change["parallel.compile"] for change in changed] == ["pmap", "jit", "sharded"]


DIE_IN_A_SAVE = """
import os, signal, sys
from launch.__main__ import run
from research.runs.checkpoints import integrity
integrity.write_manifest = lambda checkpoint: os.kill(os.getpid(), signal.SIGKILL)
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_save(run):
    experiment, directory, finished = run
    command = [sys.executable, "-c", DIE_IN_A_SAVE, "train", experiment.name, *assignments(experiment)]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    assert subprocess.run([*command, "--dir", str(directory)], env=environment).returncode == -signal.SIGKILL
    assert [path.name for path in (directory / "checkpoints").glob("12*")] == ["12.orbax-checkpoint-tmp"]
    train(experiment, directory, print)
    assert_same_run(experiment, finished, directory)


@pytest.fixture
def disk(tmp_path):
    """A disk of 4 MB of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs leave to mount a small disk")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_leaves_earlier_checkpoints_whole(run, disk):
    experiment, directory, finished = run
    small = shutil.copytree(directory, disk / "run")
    with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError):
        while True:
            filler.write(b"?" * 4096)
    with pytest.raises(EnvironmentFault) as fault:
        train(experiment, small, print)
    assert "\n" not in str(fault.value)
    assert [find_corruption(small / "checkpoints" / str(step)) for step in (4, 8)] == [None, None]
    (disk / "filler").unlink()
    train(experiment, small, print)
    assert_same_run(experiment, finished, small)


def test_a_disk_that_cannot_be_written_is_one_line(run, disk):
    experiment, directory, _ = run
    shutil.copytree(directory, disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for name in ("run", "new"):
        with pytest.raises(
            EnvironmentFault, match=rf"^{disk / name}: cannot be written: Read-only file system$"
        ):
            train(experiment, disk / name, print)
    assert [find_corruption(disk / "run/checkpoints" / str(step)) for step in (4, 8)] == [None, None]
