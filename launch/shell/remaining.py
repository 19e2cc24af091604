"""The progress of a running sweep."""

import time
from collections.abc import Callable
from pathlib import Path

from launch.status import format_duration


class Remaining:
    """Counts ended trials, and estimates the remaining time from the speed since this command began."""

    def __init__(self, directory: Path, show: Callable[[str], None]):
        self._directory, self._show = directory, show
        self._began, self._before = time.monotonic(), None

    def update(self) -> None:
        from research.sweeping.status import sweep_status

        now = sweep_status(self._directory)
        done, budget = now.work, now.record.sweep.budget
        if self._before is None:
            self._before = done
        speed = (done - self._before) / max(time.monotonic() - self._began, 1e-9)
        left = format_duration((budget - done) / speed if speed > 0 else None)
        self._show(f"{now.ended} of {budget} trials, {now.counts['running']} running, {left} left")
