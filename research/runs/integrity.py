"""What vouches for a checkpoint: the size and SHA-256 of each of its files, in a manifest beside them.

The manifest is written before Orbax gives the directory its final name, so a checkpoint without one is a
checkpoint with a file missing.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import research
from research.errors import UsageError
from research.io.files import catch_write_errors, write_atomic

FILE = "manifest.json"
FORMAT = 1  # of the arrays' names and of this file
UNSEALED = {FILE, "_CHECKPOINT_METADATA", "commit_success.txt"}  # which Orbax finishes after the seal
UNFINISHED = "*.orbax-checkpoint-tmp*"


def write_manifest(checkpoint: Path) -> None:
    """Has all files of a checkpoint on disk for good, and writes its manifest."""
    files = {name: _sum(path, sync=True) for name, path in _files(checkpoint).items()}
    record = {"format": FORMAT, "lineage": research.__version__, "files": files}
    write_atomic(checkpoint / FILE, json.dumps(record, indent=1) + "\n")


def find_corruption(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words; None if nothing is.

    Raises UsageError where a later version wrote it: that is not damage.
    """
    try:
        record = json.loads((checkpoint / FILE).read_text())
        form, sealed = record["format"], record["files"]
    except FileNotFoundError:
        return f"{FILE} is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{FILE} cannot be read"
    if form != FORMAT:
        raise UsageError(
            f"{checkpoint}: has format {form}, written by lineage {record.get('lineage')}; "
            f"this is lineage {research.__version__}, which reads format {FORMAT}"
        )
    files = _files(checkpoint)
    if missing := sorted(sealed.keys() - files.keys()):
        return f"{missing[0]} is missing"
    for name, (size, digest) in sealed.items():
        try:
            if (found := files[name].stat().st_size) != size:
                return f"{name} has {found} bytes, not {size}"
            if _sum(files[name]) != [size, digest]:
                return f"{name} has other bytes than were written"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def latest_valid_step(checkpoints: Path, report: Callable[[str], None]) -> int:
    """The newest step whose checkpoint is whole, 0 for none.

    Newer, damaged ones go to `damaged` beside `checkpoints`, so that their steps can be saved again; what a
    kill left of a save is removed. Raises EnvironmentFault where that cannot be done.
    """
    with catch_write_errors(checkpoints):
        for unfinished in checkpoints.glob(UNFINISHED):
            shutil.rmtree(unfinished)
    for step in reversed(steps(checkpoints)):
        if (wrong := find_corruption(checkpoints / str(step))) is None:
            return step
        aside = checkpoints.with_name("damaged") / str(step)
        with catch_write_errors(aside):
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            (checkpoints / str(step)).rename(aside)
        report(f"checkpoint {step} is damaged: {wrong}; moved to {aside}, the one before it is used")
    return 0


def steps(checkpoints: Path) -> list[int]:
    """Of the checkpoints that are finished, ascending."""
    return sorted(int(path.name) for path in checkpoints.glob("*") if path.name.isdecimal())


def _files(checkpoint: Path) -> dict[str, Path]:
    """By name relative to the checkpoint, but for those that are not sealed."""
    paths = (path for path in sorted(checkpoint.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(checkpoint)): path
        for path in paths
        if path.parent != checkpoint or path.name not in UNSEALED
    }


def _sum(path: Path, sync: bool = False) -> list:
    """[size, SHA-256]."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
        return [os.fstat(file.fileno()).st_size, digest]
