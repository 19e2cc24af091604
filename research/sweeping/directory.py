"""The files of a sweep's directory."""

import socket
from pathlib import Path

SWEEP = "sweep.json"
LOCKS = "leases"


def is_sweep(directory: Path) -> bool:
    return (directory / SWEEP).exists()


def run_directory(directory: Path, trial: int) -> Path:
    return directory / "trials" / f"{trial:04d}"


def log_path(directory: Path, trial: int) -> Path:
    """The output of the trial's training."""
    return directory / "logs" / f"{trial:04d}.log"


def study_lock(directory: Path) -> Path:
    """Held to create the study, and to choose the next trial."""
    return directory / LOCKS / "claim"


def storage_lock(directory: Path) -> Path:
    """Held while opening the study's storage, which creates its tables."""
    return directory / LOCKS / "storage"


def trial_lock(directory: Path, trial: int) -> Path:
    """Held by the worker that trains the trial."""
    return directory / LOCKS / f"{trial:04d}"


def trial_locks(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / LOCKS).glob("*") if path.name.isdigit())


def supervisor_lock(directory: Path) -> Path:
    """Held by the `lineage sweep` that starts and replaces the workers of this machine."""
    return directory / LOCKS / f"keeper-{socket.gethostname()}"


def supervisor_locks(directory: Path) -> list[Path]:
    """The supervisor locks of all machines."""
    return sorted((directory / LOCKS).glob("keeper-*"))
