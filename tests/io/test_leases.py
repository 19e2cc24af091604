"""Who holds what, and who is dead."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from research.errors import UsageError
from research.io import leases
from research.sweeping import device_slices


def test_one_holder_at_a_time(tmp_path):
    path = tmp_path / "leases" / "0001"
    held = leases.take(path, {"devices": ["core 0"]})
    assert leases.holder(path) == {"host": socket.gethostname(), "pid": os.getpid(), "devices": ["core 0"]}
    assert leases.take(path, {}) is None
    held.release()
    assert leases.holder(path) is None
    leases.take(path, {}).release()


def test_the_dead_hold_nothing(tmp_path):
    path = tmp_path / "0001"
    code = "import os; from pathlib import Path; from research.sweeping import lease;"
    code += f"held = leases.take(Path({str(path)!r}), {{}}); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert json.loads(path.read_text())["pid"] and leases.holder(path) is None
    leases.take(path, {}).release()


def test_a_holder_elsewhere_lives_as_long_as_its_heart_beats(tmp_path):
    """Where locks stay on one machine, the last touch is all that is known."""
    path = tmp_path / "0001"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert leases.holder(path)["host"] == "elsewhere" and leases.take(path, {}) is None
    long_ago = time.time() - leases.GRACE - 1
    os.utime(path, (long_ago, long_ago))
    assert leases.holder(path) is None
    leases.take(path, {}).release()


def test_a_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.01)
    held = leases.take(tmp_path / "0001", {})
    os.utime(tmp_path / "0001", (1, 1))
    deadline = time.monotonic() + 10
    while (tmp_path / "0001").stat().st_mtime < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    held.release()


@pytest.mark.parametrize("gpus, workers", [("0,1,2,3", 2), ("0,1,2", 2), ("GPU-a,GPU-b", 2), ("", 1)])
def test_shares_are_apart_and_leave_nothing(monkeypatch, gpus, workers):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    dealt = device_slices.shares(workers)
    everything = (
        [f"gpu {gpu}" for gpu in gpus.split(",")]
        if gpus
        else [f"core {n}" for n in device_slices.usable_cores()]
    )
    assert [name for share in dealt for name in share.names] == everything
    assert all(share.names for share in dealt)


def test_more_workers_than_devices_are_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(UsageError, match="from 1 to 2, as many as there are GPUs"):
        device_slices.shares(3)


def test_what_slurm_allots_and_does_not_enforce(monkeypatch):
    """A job that may run on all four cores, and was given one or four."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(device_slices, "usable_cores", lambda: [0, 1, 2, 3])
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    assert device_slices.unconfined_cores() == 0
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "4")
    assert device_slices.unconfined_cores() == 0
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    assert device_slices.unconfined_cores() == 1


def test_a_worker_keeps_to_its_share():
    code = (
        "import os; from research.sweeping.device_slices import Share, confine;"
        "core = min(os.sched_getaffinity(0)); confine(Share(cores=(core,)));"
        "assert os.sched_getaffinity(0) == {core} and os.environ['CUDA_VISIBLE_DEVICES'] == '';"
        "confine(Share(gpus=('3', '5'))); assert os.environ['CUDA_VISIBLE_DEVICES'] == '3,5'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
