"""A checkpoint's integrity: a manifest holds the size and SHA-256 of each of its files.

The manifest is written before Orbax gives the directory its final name, so a checkpoint without a manifest is
damaged.
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
FORMAT = 2  # of the arrays' names and of this file; 1 had other names (former_names.py)
NOT_LISTED = {FILE, "_CHECKPOINT_METADATA", "commit_success.txt"}  # Orbax writes these after the manifest
UNFINISHED = "*.orbax-checkpoint-tmp*"


def write_manifest(checkpoint: Path) -> None:
    """Flushes all files of a checkpoint to disk and writes its manifest."""
    files = {name: _sum(path, sync=True) for name, path in _files(checkpoint).items()}
    record = {"format": FORMAT, "lineage": research.__version__, "files": files}
    write_atomic(checkpoint / FILE, json.dumps(record, indent=1) + "\n")


def find_corruption(checkpoint: Path) -> str | None:
    """Describes how a checkpoint is damaged; None if it is intact.

    Raises UsageError for a checkpoint of a later version, which is not damage.
    """
    try:
        record = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))
        form, listed = record["format"], record["files"]
    except FileNotFoundError:
        return f"{FILE} is missing"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{FILE} cannot be read"
    if form not in range(1, FORMAT + 1):
        raise UsageError(
            f"{checkpoint}: has format {form}, written by lineage {record.get('lineage')}; "
            f"this is lineage {research.__version__}, which reads formats 1 to {FORMAT}"
        )
    files = _files(checkpoint)
    if missing := sorted(listed.keys() - files.keys()):
        return f"{missing[0]} is missing"
    for name, (size, digest) in listed.items():
        try:
            if (found := files[name].stat().st_size) != size:
                return f"{name} has {found} bytes, not {size}"
            if _sum(files[name]) != [size, digest]:
                return f"{name} has other bytes than were written"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def format_of(checkpoint: Path) -> int:
    """The format of a checkpoint; that of this version if its manifest does not say."""
    try:
        return int(json.loads((checkpoint / FILE).read_text(encoding="utf-8"))["format"])
    except (OSError, ValueError, KeyError, TypeError):
        return FORMAT


def latest_intact_step(checkpoints: Path) -> int:
    """The newest step with an intact checkpoint, else 0. Changes nothing."""
    return next(
        (step for step in reversed(steps(checkpoints)) if not find_corruption(checkpoints / str(step))), 0
    )


def move_damaged(checkpoints: Path, intact: int, report: Callable[[str], None]) -> None:
    """Moves checkpoints newer than the `intact` one, which are damaged, to `damaged` beside `checkpoints`.

    Their steps can then be saved again. Removes unfinished saves of a killed process. Raises EnvironmentFault
    if that fails.
    """
    with catch_write_errors(checkpoints):
        for unfinished in checkpoints.glob(UNFINISHED):
            shutil.rmtree(unfinished)
    for step in reversed([step for step in steps(checkpoints) if step > intact]):
        wrong, aside = find_corruption(checkpoints / str(step)), checkpoints.with_name("damaged") / str(step)
        with catch_write_errors(aside):
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            (checkpoints / str(step)).rename(aside)
        report(f"checkpoint {step} is damaged: {wrong}; moved to {aside}; the previous one is used")


def steps(checkpoints: Path) -> list[int]:
    """The steps of the finished checkpoints, ascending."""
    return sorted(int(path.name) for path in checkpoints.glob("*") if path.name.isdecimal())


def _files(checkpoint: Path) -> dict[str, Path]:
    """{name relative to the checkpoint: path} of the files that the manifest lists."""
    paths = (path for path in sorted(checkpoint.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(checkpoint)): path
        for path in paths
        if path.parent != checkpoint or path.name not in NOT_LISTED
    }


def _sum(path: Path, sync: bool = False) -> list:
    """[size, SHA-256]."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
        return [os.fstat(file.fileno()).st_size, digest]
