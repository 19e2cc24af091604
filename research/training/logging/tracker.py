"""The interface of trackers, which get a run's rows of metrics beside metrics.jsonl.

Another package adds a tracker with one class, chosen by `run.trackers`:

    from research.config.names import TRACKERS
    from research.training.logging.tracker import Tracker

    @TRACKERS.register("mine")
    class Mine(Tracker):
        def write(self, row): ...
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from research.runs.metrics_log import Row


class TrackedRun(NamedTuple):
    """The facts of a run that a tracker opens with."""

    directory: Path  # a place for a tracker's own files, such as the id of the run at a service
    name: str
    group: str | None  # the sweep that the run is a trial of
    settings: Mapping[str, Any]  # all, flat: {"model.width": 768, …}
    start: int  # the step after which the run continues; 0 at its beginning
    steps: int  # the last step


class Tracker:
    """Base class of trackers; it ignores rows. Only a run's first process has one.

    One thread makes the tracker and calls its methods, so that a slow one delays no step. If it raises, the
    run warns once and continues; only a LineageError of `check` or `__init__` refuses the run.

    A run that was killed makes the rows after its checkpoint again, with equal numbers. They are not written
    to a tracker that has them, unless it `replaces` them.
    """

    replaces: ClassVar[bool] = False

    @classmethod
    def check(cls) -> None:
        """Raises EnvironmentFault if a package is missing; called before data are prepared."""

    def __init__(self, run: TrackedRun):
        self.run = run

    def write(self, row: Row) -> None:
        """Takes a row of metrics.jsonl: `step`, `split`, `loss` … are numbers or, like `sample`, texts."""

    def close(self, failed: bool) -> None:
        """Ends the tracker, when the run has finished, stopped or `failed`; resuming makes a new one."""


def names_of(directory: Path) -> tuple[str, str | None]:
    """The names of a run and its group: SWEEP/0000 and SWEEP for a trial, since every sweep has a 0000."""
    sweep = directory.absolute().parent.parent
    if directory.absolute().parent.name == "trials" and (sweep / "sweep.json").exists():
        return f"{sweep.name}/{directory.name}", sweep.name
    return directory.absolute().name, None
