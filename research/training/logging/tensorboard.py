"""TensorBoard files of a run: its rows, and its settings for the HPARAMS tab."""

from pathlib import Path

from research.config import Experiment
from research.config.settings import flatten
from research.io.files import as_utf8, catch_write_errors
from research.runs.metrics_log import Row

COMPARED = ("validation/loss", "train/loss")  # columns of the HPARAMS tab, beside the settings


class TensorBoard:
    """Event files in `directory`/tensorboard.

    Settings are written to the run's own files, because `SummaryWriter.add_hparams` would create a second
    run without curves.
    """

    def __init__(self, experiment: Experiment, directory: Path, step: int):
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        flat = {name: "none" if value is None else value for name, value in flatten(experiment).items()}
        settings = {
            name: value if isinstance(value, bool | int | float) else as_utf8(str(value))
            for name, value in flat.items()
        }
        with catch_write_errors(directory):
            self._writer = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)
        file = self._writer.file_writer
        assert file is not None  # an open writer has one
        self._file = file
        columns, begun, self._ended = hparams(settings, dict.fromkeys(COMPARED))
        for summary in (columns, begun):
            self._file.add_summary(summary)
        self._step, self._steps = step, experiment.run.steps

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
