"""The environment that a run's results depend on: versions, devices and the commit."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import research
from research.config import Experiment
from research.config.imports.loading import OPTION
from research.config.imports.recorded import as_recorded
from research.config.settings import flatten, to_json
from research.runs.changes import PLACES

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "tokenizers",
    "numpy",
)


def environment() -> dict[str, Any]:
    """Versions, devices and commit, which results depend on."""
    import jax

    return {
        "lineage": research.__version__,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "commit": _commit(),
    }


def shared(experiment: Experiment) -> dict[str, Any]:
    """What all processes of a run must have alike: settings, versions of packages and the user's own code."""
    settings = {name: value for name, value in flatten(experiment).items() if name not in PLACES}
    versions = {"lineage": research.__version__} | {name: _version(name) for name in PACKAGES}
    code = as_recorded(to_json(experiment)).items()
    return settings | versions | {f"{OPTION} {name}": facts["sha256"][:12] for name, facts in code}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the code in use, with a + if files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True)
    except OSError:
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "") if commit.returncode == 0 else None
