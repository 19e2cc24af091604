"""Asks the processes of a run or a sweep to save and end."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

from research.io.locks import holder
from research.runs.lock import trainer
from research.sweeping.directory import is_sweep, supervisor_locks, trial_locks


def processes_to_stop(directory: Path, jobs_stopped: bool) -> list[dict[str, Any]]:
    """The processes to signal so that all in `directory` stop: {"host", "pid", …} each.

    With `jobs_stopped`, Slurm has signalled its jobs, which pass the signal on; a second signal would kill.
    """
    if not is_sweep(directory):
        who = trainer(directory)
        return [who] if who and not jobs_stopped else []
    processes = _supervisors_and_workers(directory)
    return [who for who in processes if not (jobs_stopped and who.get("job"))]


def ask_to_stop(who: dict[str, Any]) -> bool:
    """Sends SIGTERM to a process of this host; False if it is another host's."""
    if who["host"] != socket.gethostname():
        return False
    os.kill(who["pid"], signal.SIGTERM)
    return True


def _supervisors_and_workers(directory: Path) -> list[dict[str, Any]]:
    """Supervisors, which stop their workers, and workers on hosts that have none.

    A supervisor would replace a worker that is stopped alone.
    """
    supervisors = [who for path in supervisor_locks(directory) if (who := holder(path))]
    hosts = {who["host"] for who in supervisors}
    workers = {
        (who["host"], who["pid"]): who
        for path in trial_locks(directory)
        if (who := holder(path)) and who["host"] not in hosts
    }
    return supervisors + list(workers.values())
