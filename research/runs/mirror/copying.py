"""A run's files copied to its mirror while it trains."""

import json
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax

from research.devices.processes import agreed
from research.errors import EnvironmentFault, LineageError
from research.io import remote
from research.io.activity import activity
from research.io.remote import Remote
from research.runs import record
from research.runs.checkpoints import integrity
from research.runs.lock import LOST
from research.runs.mirror.contents import CHECKPOINTS, files, small_files, step_of, whole

EVERY = 15.0  # seconds between looks for new files
LARGE = 2**24  # bytes above which a file is not read into memory


class Overtaken(LineageError):
    """Another process has copied a later step of the run, or another run."""

    status = LOST


class Copied(NamedTuple):
    """What the mirror has."""

    steps: set[int]
    small: dict[str, tuple[int, int]]  # size and time of the last change


@contextmanager
def mirrored(url: str | None, directory: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Keeps a copy of the run in `directory` up to date; complete at the end.

    The first process copies. A failure at the start, or of the last copy, is an EnvironmentFault; of one in
    between, a line of `report`. If another process has overtaken this one, this one ends.
    """
    if url is None:
        yield
        return
    if jax.process_index():
        agreed(lambda: 0)
        yield
        agreed(lambda: 0)
        return
    mirror = Mirror(remote.connect(url), directory)
    agreed(mirror.update)
    over = threading.Event()
    thread = threading.Thread(target=_follow, args=(mirror, over, report), name="mirror", daemon=True)
    thread.start()

    def last() -> int:
        over.set()
        with activity(f"copying the run to {url}"):
            thread.join()
            return mirror.update()

    try:
        yield
    except Exception:
        with suppress(LineageError):  # the first failure is the reason
            last()
        raise
    finally:
        over.set()
    try:
        agreed(last)
    except EnvironmentFault as fault:
        raise EnvironmentFault(f"{fault}; the run is in {directory}, the same command copies it") from fault
    except KeyboardInterrupt:
        report(f"{url}: the copy is not complete; the same command completes it")
        raise


class Mirror:
    """The copy of a run, and what is known of it."""

    def __init__(self, target: Remote, directory: Path):
        self._target, self._directory, self.url = target, directory, target.url
        self._copied = Copied(set(), {})
        self._record = b""  # as last copied

    def update(self, look: bool = True) -> int:
        """Copies what is new and removes checkpoints that are gone; returns the newest step there.

        Metrics go before the checkpoints they lead to. With `look`, what has gone there is copied again, too;
        without, nothing is asked if nothing is new here. Raises Overtaken and EnvironmentFault.
        """
        kept, found = self._directory / CHECKPOINTS, small_files(self._directory)
        steps = {step for step in integrity.steps(kept) if (kept / str(step) / integrity.FILE).exists()}
        small = {name: state for name, path in found.items() if (state := _state(path))}
        newest = max(steps, default=0)
        if not look and (steps, small) == self._copied:
            return newest
        there = remote.sizes(self._target)
        self._refuse_another_run(there)
        already = whole(there)
        if (ahead := max(already, default=0)) > newest:
            raise Overtaken(f"{self.url}: another process has copied step {ahead} of this run")
        for name, state in small.items():
            if self._copied.small.get(name) != state or there.get(name) != state[0]:
                self._copy_small(name, state[0])
        copied = {step for step in sorted(steps, reverse=True) if step in already or self._copy(step)}
        for step in {step_of(name) for name in there} - steps - {None}:
            self._remove(f"{CHECKPOINTS}/{step}", there)
        self._copied = Copied(copied, small)
        return newest

    def _copy_small(self, name: str, size: int) -> None:
        path = self._directory / name
        if size > LARGE:
            remote.upload(self._target, {name: path})
            return
        with suppress(FileNotFoundError):  # temporary
            remote.write(self._target, name, content := path.read_bytes())
            if name == record.FILE:
                self._record = content

    def _refuse_another_run(self, there: Collection[str]) -> None:
        """Raises Overtaken if the record there is now another run's, which began as this one did."""
        if self._record and record.FILE in there:
            found = remote.read(self._target, record.FILE)
            if found != self._record and _declared(found) != _declared(self._record):
                raise Overtaken(f"{self.url}: another process has begun to copy another run to it")

    def _copy(self, step: int) -> bool:
        """Whether the checkpoint could be copied; not if it has been removed meanwhile."""
        folder = self._directory / CHECKPOINTS / str(step)
        done: set[str] = set()
        try:
            while new := {name: path for name, path in files(folder).items() if name not in done}:
                done |= new.keys()  # Orbax writes its own marks last
                named = {f"{CHECKPOINTS}/{step}/{name}": path for name, path in new.items()}
                named.pop(manifest := f"{CHECKPOINTS}/{step}/{integrity.FILE}", None)
                remote.upload(self._target, named)
            remote.write(self._target, manifest, (folder / integrity.FILE).read_bytes())
        except (OSError, EnvironmentFault):
            if (folder / integrity.FILE).exists():
                raise
            return False
        return True

    def _remove(self, checkpoint: str, there: dict[str, int]) -> None:
        if (manifest := f"{checkpoint}/{integrity.FILE}") in there:
            remote.remove(self._target, manifest)
        remote.remove(self._target, checkpoint)


def _follow(mirror: Mirror, over: threading.Event, report: Callable[[str], None]) -> None:
    failing = False
    while not over.wait(EVERY):
        try:
            mirror.update(look=False)
        except Overtaken as fault:
            print(f"lineage: {fault}; this one ends", file=sys.stderr, flush=True)
            os._exit(LOST)
        except Exception as fault:  # also of the disk
            if not failing:
                report(f"{fault}; training goes on, and the copy is tried again")
            failing = True
        else:
            if failing:
                report(f"{mirror.url}: up to date again")
            failing = False


def _declared(content: bytes) -> Any:
    """The declaration in a record, which also names the machine; None if it cannot be read."""
    with suppress(ValueError, TypeError, KeyError):
        return json.loads(content)["experiment"]
    return None


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None for a file that is gone."""
    with suppress(OSError):
        found = path.stat()
        return found.st_size, found.st_mtime_ns
    return None
