"""TensorBoard files of a run: its rows, and its settings for the HPARAMS tab."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from research.config.names import TRACKERS
from research.io.files import as_utf8, catch_write_errors
from research.runs.metrics_log import Row
from research.training.logging.tracker import TrackedRun, Tracker

COMPARED = ("validation/loss", "train/loss")  # columns of the HPARAMS tab, beside the settings
FLUSH = 30.0  # seconds between flushes to disk


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """An event file in the run's folder `tensorboard`.

    It is written here, not by tensorboardX's `SummaryWriter`, whose thread dies when the disk is full:
    training would then wait forever for room in its queue. Settings are in the run's own file, because
    `SummaryWriter.add_hparams` would create a second run without curves.
    """

    replaces = True  # by TensorBoard's `purge_step`: rows that were not yet on disk at a kill are not lost

    def __init__(self, run: TrackedRun):
        super().__init__(run)
        with _hidden("torch"):  # tensorboardX would load all of it for one type that we do not use
            from tensorboardX.proto import event_pb2, summary_pb2
            from tensorboardX.record_writer import RecordWriter
            from tensorboardX.summary import hparams, text

        events: Any = event_pb2  # whose classes are made at import, unseen by type checkers
        summaries: Any = summary_pb2
        self._event, self._summary, self._text = events.Event, summaries.Summary, text
        self._step = run.start
        folder = run.directory / "tensorboard"
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        with catch_write_errors(run.directory):
            folder.mkdir(exist_ok=True)
            self._file, self._flushed = RecordWriter(str(folder / name)), 0.0
        self._add(0, file_version="brain.Event:2")
        columns, begun, self._ended = hparams(
            {name: _shown(value) for name, value in run.settings.items()}, dict.fromkeys(COMPARED)
        )
        # TensorBoard then hides what an earlier part of the run wrote after `step`.
        self._add(run.start + 1, session_log=events.SessionLog(status=events.SessionLog.START))
        for summary in (columns, begun):
            self._add(run.start, summary=summary)

    def write(self, row: Row) -> None:
        self._step, summary = row["step"], self._summary()
        for name, value in row.items():
            if name in ("step", "split"):
                continue
            tag = f"{row['split']}/{name}"
            if isinstance(value, str):
                summary.MergeFrom(self._text(tag, value))
            else:
                summary.value.add(tag=tag, simple_value=value)
        self._add(row["step"], summary=summary)

    def close(self, failed: bool) -> None:
        """Marks a finished run as a success. A stopped run stays unmarked, because it may be continued."""
        if self._step == self.run.steps and not failed:
            self._add(self._step, summary=self._ended)
        with catch_write_errors(self.run.directory):
            try:
                self._file.flush()
            finally:
                self._file.close()

    def _add(self, step: int, **what: Any) -> None:
        now = time.time()
        with catch_write_errors(self.run.directory):
            self._file.write(self._event(wall_time=now, step=step, **what).SerializeToString())
            if now > self._flushed + FLUSH:
                self._flushed = now
                self._file.flush()


def _shown(value: Any) -> bool | float | str:
    if isinstance(value, bool | int | float):
        return value
    return "none" if value is None else as_utf8(str(value))


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Blocks the import of a module that is not imported yet."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
