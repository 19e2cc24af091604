"""What belongs to a copy of a run, here and there."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from research.runs.checkpoints import integrity

CHECKPOINTS = "checkpoints"
ASIDE = "damaged"  # checkpoints that were moved aside


def whole(names: Iterable[str]) -> set[int]:
    """The steps of the checkpoints that have a manifest, among names of files."""
    ends = f"/{integrity.FILE}"
    steps = (name.removeprefix(f"{CHECKPOINTS}/").removesuffix(ends) for name in names if name.endswith(ends))
    return {int(step) for step in steps if step.isdecimal()}


def step_of(name: str) -> int | None:
    """The step of the checkpoint that a file belongs to."""
    parts = name.split("/")
    return int(parts[1]) if len(parts) > 2 and parts[0] == CHECKPOINTS and parts[1].isdecimal() else None


def files(folder: Path, without: Collection[str] = ()) -> dict[str, Path]:
    """{name: path} of the files in a folder, at any depth, but not in its folders `without`.

    Hidden ones are unfinished. Files that go meanwhile may be missing or be there.
    """
    found = {}
    for place, folders, names in os.walk(folder):
        inside = Path(place).relative_to(folder)
        folders[:] = sorted(one for one in folders if one[0] != "." and (inside.parts or one not in without))
        found |= {(inside / name).as_posix(): Path(place, name) for name in sorted(names) if name[0] != "."}
    return found


def small_files(directory: Path) -> dict[str, Path]:
    """The files of a run beside its checkpoints: record, metrics, tokenizer, logs."""
    return files(directory, without=(CHECKPOINTS, ASIDE))
