"""Sweeping: what is declared and typed becomes a sweep; workers are sent; what came of it is told."""

import json as json_
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_type_hints

import experiments
from launch.over import parse_space
from research.config import Sweep, space
from research.config.settings import convert, override, parse_assignments
from research.config.sweep import SETTINGS
from research.errors import UsageError


def build(
    name: str, overs: list[str] | None, overrides: list[str] | None, changes: Mapping[str, Any]
) -> Sweep:
    """A named sweep, or an experiment swept `overs`; `changes` set the sweep's own, None where not typed."""
    from research.sweeping.record import validated

    hints = get_type_hints(Sweep)
    changes = {
        key: convert(value, hints[key], f"--{key}") for key, value in changes.items() if value is not None
    }
    assignments = parse_assignments(overrides or [])
    if name in experiments.sweep_names():
        declared = experiments.get_sweep(name)
        base, swept = override(declared.base, assignments), declared.space
        if overs:
            swept = space.product(swept, parse_space(base, overs))
        kept = {key: getattr(declared, key) for key in SETTINGS}
    elif name in experiments.names() and not overs:
        raise UsageError(f"{name}: an experiment, and nothing to vary; expected --over KEY=SPEC")
    else:
        base = override(_experiment(name), assignments)
        swept, kept = parse_space(base, overs or []), {}
    return validated(Sweep(**({"name": name, "base": base, "space": swept} | kept | changes)))


def _experiment(name: str):
    return experiments.get(name) if name in experiments.names() else experiments.get_sweep(name).base


def start_local(directory: Path, sweep: Sweep, storage: str | None, workers: int, dry_run: bool) -> int:
    from launch.executors.local import run_workers
    from launch.status import tell_sweep
    from research.sweeping.device_slices import shares
    from research.sweeping.record import claim
    from research.sweeping.status import sweep_status

    dealt = shares(workers)
    if dry_run:
        describe(sweep)
        for number, share in enumerate(dealt):
            print(f"worker {number}   {', '.join(share.names)}")
        return 0
    claim(directory, sweep, storage)
    status = 0
    if not sweep_status(directory).over:
        with _kept(directory):
            status = run_workers(directory, dealt, lambda line: print(line, flush=True))
    stands = sweep_status(directory)
    print()
    tell_sweep(directory, stands, trials=False)
    if not stands.over:
        print(f"the same command continues it; lineage status {directory} shows how it stands")
    return status


def start_slurm(
    directory: Path, sweep: Sweep, storage: str | None, workers: int, slurm_resources, dry_run: bool
) -> int:
    from launch.executors.slurm import submit, workers_script
    from research.sweeping.record import claim

    script = workers_script(directory, sweep.name, workers, slurm_resources)
    if dry_run:
        print(script, end="")
        return 0
    claim(
        directory, sweep, storage, default="journal"
    )  # nodes share a file system, over which SQLite is unsafe
    (directory / "logs").mkdir(exist_ok=True)
    print(f"job {submit(script)}: {workers} workers; lineage status {directory} shows how it stands")
    return 0


def work_on(directory: Path, gpus: str | None, cores: str | None, attached: bool) -> int:
    """One worker; its share of the devices is nobody else's, also of another sweep's."""
    from research.sweeping.device_slices import DeviceSlice, confine, unconfined_cores
    from research.sweeping.record import read

    read(directory)
    given = DeviceSlice(
        gpus=tuple((gpus or "").split(",")) if gpus else (),
        cores=tuple(convert(core, int, "--cores") for core in cores.split(",")) if cores else (),
    )
    if not given.names and (allotted := unconfined_cores()):
        given, leases = _reserve_cores(allotted, directory)
    else:
        leases = _reserve(given, directory)
    share = confine(given)
    if attached:
        threading.Thread(target=_stop_with_parent, daemon=True).start()
    from research.devices.startup import use_compilation_cache
    from research.devices.xla import reuse_step_memory
    from research.sweeping.worker import work
    from research.training.loop import train

    use_compilation_cache()
    reuse_step_memory()
    facts = {"devices": share.names, "host": socket.gethostname(), "job": os.environ.get("SLURM_JOB_ID")}
    stopped = work(directory, facts, lambda line: print(line, flush=True), train)
    for lease in leases:
        lease.release()
    return 0 if stopped is None else 128 + stopped


def show_sweep(name: str, overrides: list[str] | None, json: bool) -> None:
    from launch.inspect import told
    from research.config.settings import flatten
    from research.sweeping.record import sweep_to_json

    sweep = build(name, None, overrides, {})
    if json:
        print(json_.dumps(sweep_to_json(sweep), indent=2))
        return
    print(experiments.describe(name) + "\n")
    describe(sweep)
    print()
    for key, value in flatten(sweep.base).items():
        if key != "name":
            print(f"{key:<26} {told(value)}")


def describe(sweep: Sweep) -> None:
    from research.sweeping.record import describe as told

    print(f"{sweep.name}: {sweep.budget} trials of {sweep.base.run.steps} steps of {sweep.base.name}")
    print(f"space      {told(sweep.space)}")
    print(f"sampler    {sweep.chosen_sampler}, pruner {sweep.pruner}")
    print(f"metric     {sweep.metric}, {sweep.direction}d")


@contextmanager
def _kept(directory: Path) -> Iterator[None]:
    """One keeper of workers a machine."""
    from research.io.leases import holder, take

    path = directory / "leases" / f"keeper-{socket.gethostname()}"
    lease = take(path, {})
    if lease is None:
        who = holder(path) or {"pid": "unknown"}
        raise UsageError(
            f"{directory}: process {who['pid']} is at work on it; lineage stop {directory} ends that"
        )
    try:
        yield
    finally:
        lease.release()


def _reserve_cores(count: int, directory: Path) -> tuple:
    """As many cores as no other worker holds: (their share, their leases)."""
    from research.io.leases import take
    from research.sweeping.device_slices import DeviceSlice, usable_cores

    taken = {}
    for core in usable_cores():
        if len(taken) < count and (lease := take(_device(f"core {core}"), {"directory": str(directory)})):
            taken[core] = lease
    if len(taken) < count:
        raise UsageError(f"{count} cores were allotted, and of those here only {len(taken)} are free")
    return DeviceSlice(cores=tuple(taken)), list(taken.values())


def _device(name: str) -> Path:
    from research.io.home import home

    return home() / "devices" / f"{socket.gethostname()}-{name.replace(' ', '-')}"


def _reserve(share, directory: Path) -> list:
    from research.io.leases import holder, take

    taken = []
    for name in share.names:
        lease = take(_device(name), {"directory": str(directory.absolute())})
        if lease is None:
            who = holder(_device(name)) or {"pid": "unknown", "directory": "another sweep"}
            raise UsageError(f"{name}: in use by process {who['pid']}, on {who['directory']}")
        taken.append(lease)
    return taken


def _stop_with_parent() -> None:
    """Our standard input ends when the one who started us does, however it dies."""
    while os.read(sys.stdin.fileno(), 1):  # unbuffered: a lock on the buffer would outlive the interpreter
        pass
    os.kill(os.getpid(), signal.SIGTERM)
