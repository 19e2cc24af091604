"""A machine's devices, and a share of them for each worker. Nothing here wakes a device."""

import os
import shutil
import subprocess
from typing import NamedTuple

from research.errors import UsageError


class DeviceSlice(NamedTuple):
    """What a worker may use, and nobody else: `gpus` as in CUDA_VISIBLE_DEVICES, or else CPU `cores`."""

    gpus: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()

    @property
    def names(self) -> list[str]:
        return [f"gpu {gpu}" for gpu in self.gpus] or [f"core {core}" for core in self.cores]

    def typed(self) -> list[str]:
        """As options of a worker's command."""
        return (
            [f"--gpus={','.join(self.gpus)}"] if self.gpus else [f"--cores={','.join(map(str, self.cores))}"]
        )


def shares(workers: int) -> list[DeviceSlice]:
    """This machine's GPUs, or the cores that this process may use, dealt out to `workers`.

    Raises UsageError where there are fewer devices than workers: two trials never share one.
    """
    gpus, cores = visible_gpus(), usable_cores()
    kind, devices = ("GPUs", gpus) if gpus else ("cores", cores)
    if not 1 <= workers <= len(devices):
        raise UsageError(
            f"--workers {workers}: expected from 1 to {len(devices)}, as many as there are {kind} here"
        )
    dealt = [devices[len(devices) * n // workers : len(devices) * (n + 1) // workers] for n in range(workers)]
    return [DeviceSlice(gpus=tuple(own)) if gpus else DeviceSlice(cores=tuple(own)) for own in dealt]


def confine(share: DeviceSlice) -> DeviceSlice:
    """Keeps this process to `share`, or to what it is given already; before jax is imported.

    XLA starts as many threads as there are cores to run them on, so they are its share too.
    """
    if share.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
        return share
    if share.cores:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, share.cores)
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return share
    gpus = visible_gpus()
    return DeviceSlice(gpus=tuple(gpus)) if gpus else DeviceSlice(cores=tuple(usable_cores()))


def unconfined_cores() -> int:
    """How many cores Slurm allotted where it does not keep the job to them; 0 where it does, or is not there.

    Without a task plugin every job of a node may run on all of its cores.
    """
    allotted = int(os.environ.get("SLURM_CPUS_ON_NODE", 0))
    return allotted if allotted < len(usable_cores()) and not visible_gpus() else 0


def visible_gpus() -> list[str]:
    """NVIDIA's, by index or as CUDA_VISIBLE_DEVICES names them."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu.strip() for gpu in given.split(",") if gpu.strip() not in ("", "-1")]
    if os.environ.get("JAX_PLATFORMS") == "cpu" or shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return [str(n) for n, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def usable_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
