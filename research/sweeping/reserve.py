"""Locks that reserve a machine's devices, and the right to start a sweep's workers there.

A device belongs to one worker at a time, across all sweeps.
"""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from research.errors import UsageError
from research.io.files import catch_write_errors
from research.io.home import home
from research.io.locks import Lock, acquire, holder
from research.sweeping.device_slices import DeviceSlice, unconfined_cores, usable_cores
from research.sweeping.directory import supervisor_lock


@contextmanager
def supervise(directory: Path) -> Iterator[None]:
    """Makes this process the supervisor that starts and replaces a sweep's workers on this machine.

    Raises UsageError, naming the process, if there already is a supervisor.
    """
    path = supervisor_lock(directory)
    with catch_write_errors(path):
        lock = acquire(path)
    if lock is None:
        pid = (holder(path) or {"pid": "unknown"})["pid"]
        raise UsageError(f"{directory}: process {pid} works on it; to stop it: lineage stop {directory}")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def reserve_devices(wanted: DeviceSlice, directory: Path) -> Iterator[DeviceSlice]:
    """Reserves `wanted` for this worker of the sweep in `directory`.

    If `wanted` is empty and Slurm allots cores without confining the job to them, it reserves that number of
    cores. Raises UsageError if a device belongs to another worker.
    """
    with ExitStack() as locks:
        if wanted.names or not (count := unconfined_cores()):
            for name in wanted.names:
                locks.callback(_lock_device(name, directory).release)
        else:
            free = _lock_free_cores(count, directory, locks)
            wanted = DeviceSlice(cores=tuple(free))
        yield wanted


def _lock_device(name: str, directory: Path) -> Lock:
    lock = _acquire(name, directory)
    if lock is None:
        who = holder(_device_lock(name)) or {"pid": "unknown", "directory": "another sweep"}
        raise UsageError(f"{name}: in use by process {who['pid']}, on {who['directory']}")
    return lock


def _lock_free_cores(count: int, directory: Path, locks: ExitStack) -> list[int]:
    """Locks `count` cores that belong to no other worker, until `locks` closes."""
    free = []
    for core in usable_cores():
        if len(free) < count and (lock := _acquire(f"core {core}", directory)):
            locks.callback(lock.release)
            free.append(core)
    if len(free) < count:
        raise UsageError(f"{count} cores were allotted, but only {len(free)} of them are free here")
    return free


def _acquire(name: str, directory: Path) -> Lock | None:
    path = _device_lock(name)
    with catch_write_errors(path):
        return acquire(path, {"directory": str(directory.absolute())})


def _device_lock(name: str) -> Path:
    """In $LINEAGE_HOME; if that is read-only, such as one that users share, in the temporary folder."""
    folder = home() / "devices"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        folder = Path(tempfile.gettempdir()) / f"lineage-devices-{os.getuid()}"
    return folder / f"{socket.gethostname()}-{name.replace(' ', '-')}"
