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
from research.files import write_whole, writing

FILE = "manifest.json"
FORMAT = 1  # of the arrays' names and of this file
UNSEALED = {FILE, "_CHECKPOINT_METADATA", "commit_success.txt"}  # which Orbax finishes after the seal
UNFINISHED = "*.orbax-checkpoint-tmp*"


def seal(checkpoint: Path) -> None:
    """Has all files of a checkpoint on disk for good, and writes its manifest."""
    files = {name: _sum(path, sync=True) for name, path in _files(checkpoint).items()}
    record = {"format": FORMAT, "lineage": research.__version__, "files": files}
    write_whole(checkpoint / FILE, json.dumps(record, indent=1) + "\n")


def damage(checkpoint: Path) -> str | None:
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


def newest_sound(checkpoints: Path, report: Callable[[str], None]) -> int:
    """The newest step whose checkpoint is whole, 0 for none; what cannot be used is out of the way then."""
    step = newest_whole(checkpoints)
    put_aside(checkpoints, step, report)
    return step


def newest_whole(checkpoints: Path) -> int:
    """The newest step whose checkpoint is whole, 0 for none. Nothing is touched."""
    return next((step for step in reversed(steps(checkpoints)) if not damage(checkpoints / str(step))), 0)


def put_aside(checkpoints: Path, whole: int, report: Callable[[str], None]) -> None:
    """What is newer than the checkpoint that is `whole`, which is damaged, goes to `damaged` beside
    `checkpoints`, so that its steps can be saved again; what a kill left of a save is removed.

    Raises EnvironmentFault where that cannot be done.
    """
    with writing(checkpoints):
        for unfinished in checkpoints.glob(UNFINISHED):
            shutil.rmtree(unfinished)
    for step in reversed([step for step in steps(checkpoints) if step > whole]):
        wrong, aside = damage(checkpoints / str(step)), checkpoints.with_name("damaged") / str(step)
        with writing(aside):
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            (checkpoints / str(step)).rename(aside)
        report(f"checkpoint {step} is damaged: {wrong}; moved to {aside}, the one before it is used")


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
