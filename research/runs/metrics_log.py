"""A run's metrics on disk, one JSON object per line, passed on to trackers."""

import json
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from research.errors import LineageWarning
from research.io.files import catch_write_errors, write_atomic

FILE = "metrics.jsonl"
Row = dict[str, Any]  # {"step", "split": "train" | "validation", "loss", …}


class Receiver(Protocol):
    """A place that gets each row of metrics, too, such as a tracker."""

    def write(self, row: Row) -> None: ...

    def close(self, failed: bool) -> None: ...


class Metrics:
    """Appends rows to `directory`/metrics.jsonl and passes them on to `trackers`.

    A run that continues from a checkpoint first drops damaged lines and the rows after its step, which it
    will write again.
    """

    def __init__(
        self,
        directory: Path,
        step: int,
        writes: bool = True,
        trackers: Sequence[Receiver] = (),
        report: Callable[[str], None] = print,
    ):
        """Without `writes`, as in all processes but the first, rows stay in memory."""
        self._path = directory / FILE
        if step and not self._path.exists():
            report(f"{self._path} is gone: it begins again after step {step}")
        self.rows = [row for row in read(directory) if row["step"] <= step] if step else []
        self._file, self._trackers = None, trackers
        if writes:
            write_atomic(self._path, "".join(json.dumps(row) + "\n" for row in self.rows))
            with catch_write_errors(directory):
                self._file = self._path.open("a", buffering=1, encoding="utf-8")  # line by line, for readers

    def write(self, row: Row) -> None:
        self.rows.append(row)
        if self._file is None:
            return
        with catch_write_errors(self._path):
            self._file.write(json.dumps(row) + "\n")
        for tracker in self._trackers:
            tracker.write(row)

    def validated(self, step: int) -> bool:
        return any(row["split"] == "validation" and row["step"] == step for row in self.rows)

    def flush(self) -> None:
        """Flushes all rows to disk. Call it before a checkpoint, which must not be ahead of the rows."""
        if self._file is not None:
            with catch_write_errors(self._path):
                self._file.flush()
                os.fsync(self._file.fileno())

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        with ExitStack() as closing:  # what fails to close must not keep the others from it
            for tracker in self._trackers:
                closing.push(lambda fault, *_, close=tracker.close: close(failed=bool(kind or fault)))
            if self._file is not None:
                with catch_write_errors(self._path), self._file:
                    self.flush()


def read(directory: Path) -> list[Row]:
    """Reads the rows of a run, in order, without a last line cut short by a kill.

    Lines damaged otherwise, for example by a power cut, are skipped with a LineageWarning. A complete row
    appended to damage is kept.
    """
    path = directory / FILE
    if not path.exists():
        return []
    *lines, last = path.read_bytes().split(b"\n")
    if b"\0" in last:  # zeros in place of rows
        lines, last = [*lines, last], b""
    rows, damaged = [], []
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is None and line.strip():
            damaged.append(number)
            row = _row(line[line.rfind(b'{"step"') :])
        rows.append(row)
    rows.append(_row(last))
    if damaged:
        others = f"; lines like this: {len(damaged)}" if len(damaged) > 1 else ""
        warnings.warn(
            f"{path}:{damaged[0]}: not a row of metrics, left out{others}", LineageWarning, stacklevel=1
        )
    return [row for row in rows if row is not None]


def _row(line: bytes) -> Row | None:
    """The row in a line; None if there is no complete row."""
    try:
        row = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    whole = isinstance(row, dict) and isinstance(row.get("step"), int) and isinstance(row.get("split"), str)
    return row if whole else None
