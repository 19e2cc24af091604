"""A tracker in a thread of its own: a slow or failing one neither delays nor ends the run."""

import threading
import traceback
import warnings
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple
from urllib.parse import quote

from research.config.imports.code import is_installed
from research.config.imports.own_code import own_line
from research.errors import LineageError, LineageWarning
from research.io.files import catch_write_errors, write_atomic
from research.runs.metrics_log import Row
from research.training.logging.tracker import TrackedRun, Tracker

PATIENCE = 300.0  # seconds that the end of a run waits for a tracker
FOLDER = "trackers"  # of a run: for each tracker, the last row that it has

Place = tuple[int, str]  # a row's step and split; rows are written in this order: train, then validation


class End(NamedTuple):
    failed: bool


class InThread:
    """A tracker of `kind`, which gets rows when it is free. Raises a LineageError of its `__init__`."""

    def __init__(self, name: str, kind: type[Tracker], run: TrackedRun, new: bool):
        """A `new` run has made no step, so the tracker has none of its rows."""
        self._name, self._run = name, run
        self._file = None if kind.replaces else run.directory / FOLDER / quote(name, safe="")
        self._last = (-1, "") if new or self._file is None else _read(self._file)
        self._queue: SimpleQueue[Row | End] = SimpleQueue()
        self._fault, self._warned, self._left = "", False, False
        refusals: list[LineageError] = []
        opened = threading.Event()
        work = threading.Thread(target=self._work, args=(kind, opened, refusals), daemon=True)
        work.name, self._thread = f"tracker {name}", work
        work.start()
        opened.wait()
        if refusals:
            raise refusals[0]
        self._warn()

    def write(self, row: Row) -> None:
        if self._thread.is_alive():
            self._queue.put(dict(row))  # a copy, since the run reads its rows again
        self._warn()

    def close(self, failed: bool) -> None:
        """Waits until the rows are written, at most `PATIENCE` seconds; then the others are not."""
        self._queue.put(End(failed))
        try:
            self._thread.join(PATIENCE)
        finally:  # an interrupt ends the wait, too
            self._left = self._thread.is_alive()
        self._warn()
        if self._left:
            rows = self._queue.qsize()
            self._say(f"still busy {PATIENCE:.0f} s after the last row; rows not written: {rows}")

    def _work(self, kind: type[Tracker], opened: threading.Event, refusals: list[LineageError]) -> None:
        try:
            if self._file is not None:
                with catch_write_errors(self._file):
                    self._file.parent.mkdir(parents=True, exist_ok=True)
            tracker = kind(self._run)
        except LineageError as error:
            return refusals.append(error)
        except BaseException as error:
            return self._failed(error)
        finally:
            opened.set()
        while not self._left and not self._ended(tracker, self._queue.get()):
            pass

    def _ended(self, tracker: Tracker, item: Row | End) -> bool:
        try:
            if isinstance(item, End):
                tracker.close(item.failed)
            elif (place := (item["step"], item["split"])) > self._last:
                tracker.write(item)
                self._last = place
                if self._file is not None:
                    write_atomic(self._file, f"{place[0]} {place[1]}\n")
        except BaseException as error:  # also SystemExit, which would end the thread silently
            self._failed(error)
        return isinstance(item, End)

    def _failed(self, error: BaseException) -> None:
        if not self._fault:
            text = " ".join(str(error).split())
            self._fault = f"{type(error).__name__}: {text} ({_line(error)})"

    def _warn(self) -> None:
        if self._fault and not self._warned:
            self._warned = True
            self._say(self._fault)

    def _say(self, text: str) -> None:
        message = f"{self._run.directory}: run.trackers={self._name}: {text}; the run continues"
        warnings.warn(message, LineageWarning, stacklevel=2)


def _read(file: Path) -> Place:
    """The place of the last row that the tracker has."""
    try:
        step, split = file.read_text(encoding="utf-8").split()
        return int(step), split
    except (OSError, ValueError):  # none yet
        return -1, ""


def _line(error: BaseException) -> str:
    """The last line of own code, or of any that is not installed, which `error` went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not is_installed(Path(f.filename))]
    return own_line(error) or f"{frames[-1].filename}, line {frames[-1].lineno}"
