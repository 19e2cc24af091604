"""TensorBoard files of a run: its rows, and its settings for the HPARAMS tab."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from research.io.files import as_utf8, catch_write_errors
from research.runs.metrics_log import Row

COMPARED = ("validation/loss", "train/loss")  # columns of the HPARAMS tab, beside the settings


class TensorBoard:
    """Event files in `directory`/tensorboard of a run that continues after `step`, to the last of `steps`.

    Settings are written to the run's own files, because `SummaryWriter.add_hparams` would create a second
    run without curves.
    """

    def __init__(self, settings: Mapping[str, Any], directory: Path, step: int, steps: int):
        with _hidden("torch"):  # tensorboardX would load all of it for one type that we do not use
            from tensorboardX import SummaryWriter
            from tensorboardX.summary import hparams

        with catch_write_errors(directory):
            self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)
        file = self._writer.file_writer
        assert file is not None  # an open writer has one
        self._file = file
        columns, begun, self._ended = hparams(
            {name: _shown(value) for name, value in settings.items()}, dict.fromkeys(COMPARED)
        )
        for summary in (columns, begun):
            self._file.add_summary(summary)
        self._step, self._steps = step, steps

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
        if self._step == self._steps and not failed:
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
