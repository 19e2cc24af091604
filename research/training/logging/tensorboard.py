"""TensorBoard files of a run: its rows, and its settings for the HPARAMS tab."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from research.config.names import TRACKERS
from research.io.files import as_utf8, catch_write_errors
from research.runs.metrics_log import Row
from research.training.logging.tracker import TrackedRun, Tracker

COMPARED = ("validation/loss", "train/loss")  # columns of the HPARAMS tab, beside the settings


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """Event files in the run's folder `tensorboard`.

    Settings are written to the run's own files, because `SummaryWriter.add_hparams` would create a second
    run without curves.
    """

    replaces = True  # by TensorBoard's `purge_step`: rows that were not yet on disk at a kill are not lost

    def __init__(self, run: TrackedRun):
        super().__init__(run)
        with _hidden("torch"):  # tensorboardX would load all of it for one type that we do not use
            from tensorboardX import SummaryWriter
            from tensorboardX.summary import hparams

        with catch_write_errors(run.directory):
            self._writer = SummaryWriter(str(run.directory / "tensorboard"), purge_step=run.start + 1)
        file = self._writer.file_writer
        assert file is not None  # an open writer has one
        self._file = file
        columns, begun, self._ended = hparams(
            {name: _shown(value) for name, value in run.settings.items()}, dict.fromkeys(COMPARED)
        )
        for summary in (columns, begun):
            self._file.add_summary(summary)
        self._step = run.start

    def write(self, row: Row) -> None:
        self._step = row["step"]
        for name, value in row.items():
            if name in ("step", "split"):
                continue
            tag = f"{row['split']}/{name}"
            if isinstance(value, str):
                self._writer.add_text(tag, value, row["step"])
            else:
                self._writer.add_scalar(tag, value, row["step"])

    def close(self, failed: bool) -> None:
        """Marks a finished run as a success. A stopped run stays unmarked, because it may be continued."""
        if self._step == self.run.steps and not failed:
            self._file.add_summary(self._ended)
        self._writer.close()


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
