"""Divides a machine's devices into one slice per worker, without initialising a device."""

import os
import shutil
import subprocess
from typing import NamedTuple

from research.errors import UsageError


class DeviceSlice(NamedTuple):
    """The devices of one worker: `gpus` as in CUDA_VISIBLE_DEVICES, or else CPU `cores`."""

    gpus: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()

    @property
    def names(self) -> list[str]:
        return [f"gpu {gpu}" for gpu in self.gpus] or [f"core {core}" for core in self.cores]

    def options(self) -> list[str]:
        """Options of `lineage work`."""
        return (
            [f"--gpus={','.join(self.gpus)}"] if self.gpus else [f"--cores={','.join(map(str, self.cores))}"]
        )


def device_slices(workers: int) -> list[DeviceSlice]:
    """Divides this machine's GPUs, or else the cores that this process may use, among `workers`.

    Raises UsageError if there are fewer devices than workers: two trials never share a device.
    """
    gpus, cores = visible_gpus(), usable_cores()
    kind, count = ("GPUs", len(gpus)) if gpus else ("cores", len(cores))
    if not 1 <= workers <= count:
        raise UsageError(f"--workers {workers}: expected from 1 to {count}, as many as there are {kind} here")
    parts = [slice(count * n // workers, count * (n + 1) // workers) for n in range(workers)]
    return [DeviceSlice(tuple(gpus[own]), () if gpus else tuple(cores[own])) for own in parts]


def confine(slice: DeviceSlice) -> DeviceSlice:
    """Confines this process to `slice`, if it names devices, and returns the devices it may use.

    Call it before importing JAX: XLA starts a thread for each core that it may use.
    """
    if slice.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(slice.gpus)
        return slice
    if slice.cores:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, slice.cores)
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return slice
    gpus = visible_gpus()
    return DeviceSlice(gpus=tuple(gpus)) if gpus else DeviceSlice(cores=tuple(usable_cores()))


def unconfined_cores() -> int:
    """The number of cores that Slurm allotted without confining the job to them, else 0.

    Without a task plugin, every job may run on all cores of its node.
    """
    allotted = int(os.environ.get("SLURM_CPUS_ON_NODE", 0))
    return allotted if allotted < len(usable_cores()) and not visible_gpus() else 0


def visible_gpus() -> list[str]:
    """NVIDIA GPUs, by index or as CUDA_VISIBLE_DEVICES names them."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu.strip() for gpu in given.split(",") if gpu.strip() not in ("", "-1")]
    if os.environ.get("JAX_PLATFORMS") == "cpu" or shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return [str(n) for n, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def usable_cores() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
