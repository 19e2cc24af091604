"""`lineage work`, a worker of a sweep: on the devices that it reserves, it trains one trial after another."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from launch.options import argument, option
from launch.shell.starting import starting
from research.config.values import convert
from research.io.activity import say
from research.training.stopping import interrupts


def work(
    directory: Annotated[Path, argument("DIR", "Directory of the sweep.")],
    gpus: Annotated[str | None, option("LIST", "GPUs to use, such as 0,1. Default: all.")] = None,
    cores: Annotated[str | None, option("LIST", "CPU cores to use instead of GPUs, such as 0,1.")] = None,
    attached: Annotated[bool, typer.Option(hidden=True)] = False,
) -> int:
    """Add a worker to the sweep in DIR, from any machine."""
    from research.sweeping.device_slices import DeviceSlice, confine
    from research.sweeping.record import read
    from research.sweeping.reserve import reserve_devices

    read(directory)
    if interrupts.is_prompt():
        interrupts.end_promptly(signal.SIGTERM)  # as the parent passes on an interrupt
    wanted = DeviceSlice(
        gpus=_listed(gpus), cores=tuple(convert(core, int, "--cores") for core in _listed(cores))
    )
    with reserve_devices(wanted, directory) as reserved:
        slice = confine(reserved)
        if attached:
            threading.Thread(target=_stop_with_parent, daemon=True).start()
        stopped_by = _train_trials(directory, slice.names)
    return 0 if stopped_by is None else 128 + stopped_by


def _train_trials(directory: Path, devices: Sequence[str]) -> int | None:
    """Returns the signal that stopped the worker, if any. Imports JAX, so choose the devices first."""
    with starting():
        from research.devices.startup import use_compilation_cache
        from research.devices.xla import reuse_step_memory
        from research.sweeping.worker import work
        from research.training.loop import running

    use_compilation_cache()
    reuse_step_memory()
    facts = {"devices": devices, "host": socket.gethostname(), "job": os.environ.get("SLURM_JOB_ID")}
    return work(directory, facts, say, running)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _stop_with_parent() -> None:
    """Stops this process when its standard input ends, as it does when the parent process dies."""
    while os.read(sys.stdin.fileno(), 1):  # unbuffered: a lock on the buffer would outlive the interpreter
        pass
    os.kill(os.getpid(), signal.SIGTERM)
