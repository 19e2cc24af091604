"""What a run says of itself: the resolved declaration, and on what it ran."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import research
from research.config import Experiment
from research.errors import UsageError
from research.files import write_whole, writing
from research.models.attention import choose
from research.settings import differences, from_json, to_json

FILE = "experiment.json"
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


def read(directory: Path) -> dict[str, Any]:
    """The record in `directory`; raises UsageError where there is none or it cannot be read."""
    path = directory / FILE
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{directory}: not a run, it has no {FILE}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}: not JSON: {error}") from None


def experiment_of(directory: Path) -> Experiment:
    return from_json(read(directory)["experiment"])


def examine(directory: Path, experiment: Experiment, facts: Mapping[str, Any] | None = None) -> bool:
    """Whether `directory` holds a run of `experiment` already.

    `facts` are what else must be equal for a continued run to be the same run: fingerprints of its data.
    Raises UsageError where it holds another run or something else, EnvironmentFault where it cannot be
    written.
    """
    _try_writing(directory)
    if not (directory / FILE).exists():
        if directory.exists() and any(directory.iterdir()):
            raise UsageError(f"{directory}: exists and is not a run; choose another --dir")
        return False
    record = read(directory)
    changed = differences(from_json(record["experiment"]), experiment)
    changed |= {
        name: (record.get(name), value) for name, value in (facts or {}).items() if record.get(name) != value
    }
    if changed:
        told = ", ".join(f"{name} was {old}, now {new}" for name, (old, new) in changed.items())
        raise UsageError(f"{directory}: holds another run: {told}; choose another --dir")
    return True


def claim(directory: Path, experiment: Experiment, facts: Mapping[str, Any]) -> None:
    """Makes `directory` a run of `experiment`, where `examine` allows it and it is not one yet."""
    if not examine(directory, experiment, facts):
        attention = choose(experiment.model, trains=True)._asdict()
        record = {"experiment": to_json(experiment)} | dict(facts) | environment() | {"attention": attention}
        with writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        write_whole(directory / FILE, json.dumps(record, indent=2) + "\n")


def _try_writing(directory: Path) -> None:
    """A probe that leaves nothing behind: better to know before the data are prepared than after."""
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    probe = existing / f".lineage-{os.getpid()}"
    with writing(directory):
        try:
            probe.write_bytes(b"?")
        finally:
            if existing.is_dir():
                probe.unlink(missing_ok=True)


def environment() -> dict[str, Any]:
    """Versions, devices and commit: what a reader of the numbers asks for."""
    import jax

    return {
        "lineage": research.__version__,
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "devices": [device.device_kind for device in jax.devices()],
        "commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the code in use, with a + where files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True)
    except OSError:
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "") if commit.returncode == 0 else None
