"""Devices are divided among workers, and a worker keeps to its own."""

import subprocess
import sys
import tempfile

import pytest

from research.errors import UsageError
from research.sweeping import device_slices
from research.sweeping.device_slices import DeviceSlice
from research.sweeping.reserve import reserve_devices, supervise


@pytest.mark.parametrize("gpus, workers", [("0,1,2,3", 2), ("0,1,2", 2), ("GPU-a,GPU-b", 2), ("", 1)])
def test_slices_are_apart_and_leave_nothing(monkeypatch, gpus, workers):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    slices = device_slices.device_slices(workers)
    everything = (
        [f"gpu {gpu}" for gpu in gpus.split(",")]
        if gpus
        else [f"core {n}" for n in device_slices.usable_cores()]
    )
    assert [name for slice in slices for name in slice.names] == everything
    assert all(slice.names for slice in slices)


def test_more_workers_than_devices_are_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(UsageError, match="from 1 to 2, as many as there are GPUs"):
        device_slices.device_slices(3)


def test_cores_that_slurm_allots_and_does_not_enforce(monkeypatch):
    """A job that may run on all four cores, and was given one or four."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(device_slices, "usable_cores", lambda: [0, 1, 2, 3])
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    assert device_slices.unconfined_cores() == 0
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "4")
    assert device_slices.unconfined_cores() == 0
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    assert device_slices.unconfined_cores() == 1


def test_a_worker_keeps_to_its_slice():
    code = (
        "import os; from research.sweeping.device_slices import DeviceSlice, confine;"
        "core = min(os.sched_getaffinity(0)); confine(DeviceSlice(cores=(core,)));"
        "assert os.sched_getaffinity(0) == {core} and os.environ['CUDA_VISIBLE_DEVICES'] == '';"
        "confine(DeviceSlice(gpus=('3', '5'))); assert os.environ['CUDA_VISIBLE_DEVICES'] == '3,5'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("home", ["home", "file/home"])
def test_a_device_belongs_to_one_worker(tmp_path, monkeypatch, home):
    """Also of another sweep, and if $LINEAGE_HOME is read-only; a job without cores takes free ones."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("LINEAGE_HOME", str(tmp_path / home))
    one = DeviceSlice(cores=(1,))
    with reserve_devices(one, tmp_path / "a") as slice:
        assert slice == one
        with (
            pytest.raises(UsageError, match=r"core 1: in use by process \d+, on .*/a"),
            reserve_devices(DeviceSlice(cores=(0, 1)), tmp_path / "b"),
        ):
            pytest.fail("two on a core")
        monkeypatch.setattr("research.sweeping.reserve.unconfined_cores", lambda: 2)
        monkeypatch.setattr("research.sweeping.reserve.usable_cores", lambda: [1, 2, 3, 4])
        with reserve_devices(DeviceSlice(), tmp_path / "b") as slice:
            assert slice == DeviceSlice(cores=(2, 3))


def test_one_supervisor_a_machine(tmp_path):
    with (
        supervise(tmp_path),
        pytest.raises(UsageError, match="works on it; to stop it: lineage stop"),
        supervise(tmp_path),
    ):
        pytest.fail("two supervisors")
    with supervise(tmp_path):
        pass
