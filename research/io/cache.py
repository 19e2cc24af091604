"""Caches under `$LINEAGE_HOME`: their entries, what each was made for, and removal."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from research.errors import UsageError, did_you_mean
from research.io.files import catch_write_errors
from research.io.home import home, users
from research.io.locks import describe_holder
from research.io.make_once import PARTIAL, build_lock

MADE = "made.json"  # in a folder: {"source", "tokenizer"} that it was made for
KINDS = {  # kind → what it holds; each is a folder of home
    "stores": "tokens of corpora",
    "tokenizers-trained": "tokenizers trained on corpora",
    "tfds": "data sets prepared by TFDS",
    "compiled": "compiled programs",
    "contents": "hashes of data files",
    "parameters": "tables of parameters",
    "hub": "names of the files of data sets on the Hub",
}
KEPT = {  # never removed: users put files there
    "tokenizers": "published vocabularies",
    "evaluation": "files of evaluation tasks",
}


class Entry(NamedTuple):
    """An entry of a cache."""

    kind: str
    name: str
    size: int  # bytes
    used: float  # seconds since the epoch, of the last use
    made: dict[str, str]  # {"source", "tokenizer"}; empty if that is not known
    user: str | None  # the process that uses it now

    @property
    def path(self) -> Path:
        return home() / self.kind / self.name

    @property
    def use(self) -> str:
        """How a process that uses the entry, or makes it, has marked it."""
        return f"{self.kind}/{_finished(self.name)}"


def entries(kinds: tuple[str, ...] = ()) -> list[Entry]:
    """The entries of some kinds, or of all, last used first. Raises UsageError for an unknown kind."""
    known = KINDS | KEPT
    for kind in kinds:
        if kind not in known:
            raise UsageError(f"{kind}: no such kind{did_you_mean(kind, known)}")
    used = users()
    found = [entry for kind in kinds or known for entry in _of_kind(kind, used)]
    return sorted(found, key=lambda entry: (list(known).index(entry.kind), -entry.used))


def clear(entry: Entry) -> bool:
    """Removes an entry unless a process uses it; returns whether it is gone. Raises EnvironmentFault.

    It renames the entry and checks again, so that a process that starts to use it meanwhile keeps it.
    """
    if entry.kind in KEPT or entry.use in users():
        return False
    target = entry.path
    aside = target.with_name(f".{target.name}.cleared")
    with build_lock(target), catch_write_errors(target):
        if not target.exists():
            return True
        target.rename(aside)
        if entry.use in users():
            aside.rename(target)
            return False
        shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    with suppress(OSError):
        target.with_name(f".{target.name}.lock").unlink()
    return True


def size_of(path: Path) -> int:
    """Bytes of a file or directory. Files that cannot be seen, or are removed meanwhile, count as 0."""
    if path.is_file():
        return path.stat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total


def days_since(entry: Entry) -> float:
    return (time.time() - entry.used) / 86_400


def _of_kind(kind: str, used: dict) -> Iterator[Entry]:
    folder = home() / kind
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.startswith(".") and not path.name.endswith(PARTIAL):  # a lock
            continue
        with suppress(FileNotFoundError):
            status = path.stat()
            who = used.get(f"{kind}/{_finished(path.name)}")
            last = status.st_mtime if path.is_dir() else max(status.st_atime, status.st_mtime)
            user = None if who is None else describe_holder(who)
            yield Entry(kind, path.name, size_of(path), last, _made(path), user)


def _finished(name: str) -> str:
    """The name that a folder has once it is made."""
    return name[1:].removesuffix(PARTIAL) if name.endswith(PARTIAL) else name


def _made(path: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        return json.loads((path / MADE).read_text(encoding="utf-8"))
    return {}
