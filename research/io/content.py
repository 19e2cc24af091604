"""Hashes of file contents, so that a cache is used only for the content that it was made from.

Large files are not read twice: an index under home, one per folder, keeps the hash with size, times and
inode. Programs can set the time of modification, and copies often keep it, but nobody can set the time of
change (ctime).
"""

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from research.errors import EnvironmentFault
from research.io.activity import activity
from research.io.files import write_atomic
from research.io.home import home
from research.io.make_once import build_lock
from research.io.text import reading

# A file that has just changed may change again within one tick of the file system's clock, and show
# the same times; the coarsest clock in use has two seconds.
SETTLED = 2_000_000_000  # nanoseconds


# Size, time of modification, time of change, inode: the version of a file that was hashed. The device is in
# the name of the index.
Stamp = list[int]
Index = dict[str, tuple[Stamp, str]]  # a file's name in its folder → its stamp and hash


def hashes(paths: Sequence[Path]) -> list[str]:
    """The SHA-256 of each file's bytes. Raises UsageError for one that cannot be read."""
    folders = defaultdict(list)
    for path in paths:
        path = path.absolute()
        # Device numbers may differ between machines that share home, so each machine has its own index.
        folders[path.parent, _stat(path).st_dev].append(path)
    found = {}
    for (folder, device), files in folders.items():
        found |= _of_folder(folder, device, files)
    return [found[path.absolute()] for path in paths]


def _of_folder(folder: Path, device: int, files: list[Path]) -> dict[Path, str]:
    name = hashlib.sha256(os.fsencode(f"{device} {folder}")).hexdigest()[:16]
    index = home() / "contents" / f"{name}.json"
    found = _remembered(_read(index), files)
    if len(found) == len(set(files)):
        return found
    with ExitStack() as kept:
        reading = kept.enter_context(activity(f"reading the files of {folder}"))
        # One process reads and the others wait. If home is not writable, each has to read.
        with suppress(EnvironmentFault):
            kept.enter_context(build_lock(index))
        known, read = _read(index), {}
        found = _remembered(known, files)
        try:
            for path in files:
                if path not in found:
                    reading(f"{len(found)} of {len(files)}")
                    stamp, found[path], settled = _hashed(path)
                    if settled:
                        read[path.name] = stamp, found[path]
        finally:  # files hashed before an interrupt are not read again
            if read:
                with suppress(EnvironmentFault):
                    write_atomic(index, json.dumps({"folder": str(folder), "files": known | read}))
    return found


def _remembered(index: Index, files: list[Path]) -> dict[Path, str]:
    found = {}
    for path in files:
        stamp, digest = index.get(path.name, (None, ""))
        if stamp == _stamp(_stat(path)):
            found[path] = digest
    return found


def _read(index: Path) -> Index:
    """The index; empty if it is missing or damaged, so that files are read again."""
    try:
        files = json.loads(index.read_text(encoding="utf-8"))["files"]
        return {name: (stamp, str(digest)) for name, (stamp, digest) in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _hashed(path: Path) -> tuple[Stamp, str, bool]:
    """A file's stamp and hash, and whether any later change will alter the stamp."""
    began = time.time_ns()
    with reading(path), open(path, "rb") as file:
        before = _stamp(os.fstat(file.fileno()))
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = _stamp(os.fstat(file.fileno()))
    return before, digest, before == after and before[2] < began - SETTLED


def _stat(path: Path) -> os.stat_result:
    with reading(path):
        return path.stat()


def _stamp(status: os.stat_result) -> Stamp:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
