"""A real Slurm of one node on loopback, with folders, ports and a munge of its own.

Nothing is shared with a Slurm of the machine, nor with the one of another pytest worker.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun")
SBIN = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

CONFIGURATION = """\
ClusterName=lineage
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=2,batch_sched_delay=0
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
NodeName={host} NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={megabytes} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
"""
# cred_expire is also how long a requeued job waits before it starts again; two minutes if unsaid.


class Cluster(NamedTuple):
    """A cluster that runs. Hand `environment` to whatever calls Slurm's commands."""

    folder: Path
    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """The output of one of Slurm's commands."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout.strip()

    def facts(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says: JobState, Restarts, ExitCode, … Jobs stay known for minutes."""
        words = self.ask("scontrol", "show", "job", job, "--oneliner").split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, *states: str, timeout: float = 120) -> dict[str, str]:
        """The job's facts once it is in one of `states`; fails after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (facts := self.facts(job))["JobState"] not in states:
            assert time.monotonic() < deadline, f"job {job} is {facts['JobState']} ({facts['Reason']})"
            time.sleep(0.2)
        return facts


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A cluster for the session's tests, or of one worker's; skips where it cannot be had."""
    if missing := [name for name in NEEDED if shutil.which(name, path=SBIN) is None]:
        pytest.skip(f"needs Slurm (Debian: slurm-wlm, munge): no {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("needs root, to start Slurm's daemons")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, cluster(Path(folder)) as running:
        yield running


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Starts munged, slurmctld and slurmd in `folder`, and ends what still runs of them and their jobs."""
    host = socket.gethostname().split(".")[0]
    controller_port, node_port = free_ports(2)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=host,
            folder=folder,
            controller_port=controller_port,
            node_port=node_port,
            cpus=max(2, os.cpu_count() or 1),
            megabytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        )
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    environment |= {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), SBIN)),
    }
    running = Cluster(folder, environment)
    own = {name: str(folder / f"munge.{name}") for name in ("socket", "pid", "log", "seed", "key")}
    munge = [f"--{name}{'' if name == 'socket' else '-file'}={path}" for name, path in own.items()]
    with ExitStack() as daemons:
        for name, *arguments in (
            ("munged", "--foreground", "--force", *munge),  # forced, as it dislikes root and open folders
            ("slurmctld", "-D", "-c"),
            ("slurmd", "-D", "-N", host),
        ):
            daemons.enter_context(_daemon(running, name, *arguments))
            if name == "munged":
                _until(lambda: (folder / "munge.socket").exists(), running)
        _until(lambda: "idle" in _status(running), running)
        daemons.callback(_cancel_all, running)
        yield running


@contextmanager
def _daemon(running: Cluster, name: str, *arguments: str) -> Iterator[None]:
    """A daemon of ours while the block lasts; its words go to `folder`/NAME.txt."""
    path = shutil.which(name, path=SBIN)
    with (running.folder / f"{name}.txt").open("w") as words:
        process = subprocess.Popen([path, *arguments], env=running.environment, stdout=words, stderr=words)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _status(running: Cluster) -> str:
    """The node's state, or nothing while no controller answers."""
    command = ["sinfo", "--noheader", "--format=%t"]
    try:
        done = subprocess.run(command, env=running.environment, capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def _cancel_all(running: Cluster) -> None:
    subprocess.run(["scancel", "--full", "--user=root"], env=running.environment, capture_output=True)
    _until(lambda: not running.ask("squeue", "--noheader"), running)


def _until(reached, running: Cluster, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            outputs = {path.name: path.read_text()[-1_000:] for path in running.folder.glob("*.txt")}
            pytest.fail(f"Slurm did not come up in {seconds:.0f} s: {outputs}")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
