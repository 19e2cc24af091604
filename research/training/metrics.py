"""A run's numbers on disk: one JSON object a line, and the same for TensorBoard."""

import json
import os
from pathlib import Path
from typing import Any

from research.files import write_whole, writing

Row = dict[str, Any]  # {"step", "split": "train" | "validation", "loss", …}


class Metrics:
    """Appends rows to `directory`/metrics.jsonl and to TensorBoard's files.

    A run that goes on from a checkpoint first drops what it will write again: all rows after its step.
    """

    def __init__(self, directory: Path, step: int, writes: bool = True):
        """With `writes` off, as in all processes but the first, rows are kept in memory alone."""
        self._path = directory / "metrics.jsonl"
        self.rows = [row for row in read(directory) if row["step"] <= step] if step else []
        self._file = self._tensorboard = None
        if writes:
            from tensorboardX import SummaryWriter

            write_whole(self._path, "".join(json.dumps(row) + "\n" for row in self.rows))
            with writing(directory):
                self._file = self._path.open("a", buffering=1)  # a line at a time, for those who watch
                self._tensorboard = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)

    def write(self, row: Row) -> None:
        self.rows.append(row)
        if self._file is None:
            return
        with writing(self._path):
            self._file.write(json.dumps(row) + "\n")
        for name, value in row.items():
            if name in ("step", "split"):
                continue
            tag = f"{row['split']}/{name}"
            if isinstance(value, str):
                self._tensorboard.add_text(tag, value, row["step"])
            else:
                self._tensorboard.add_scalar(tag, value, row["step"])

    def flush(self) -> None:
        """Puts all rows on disk; called before a checkpoint, which must not be ahead of them."""
        if self._file is not None:
            with writing(self._path):
                self._file.flush()
                os.fsync(self._file.fileno())

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_) -> None:
        if self._file is not None:
            self.flush()
            self._file.close()
            self._tensorboard.close()


def read(directory: Path) -> list[Row]:
    """The rows of a run, in order; a last line cut short by a kill is left out."""
    path = directory / "metrics.jsonl"
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
