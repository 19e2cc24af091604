"""From a step's arrays on the device to a row of numbers, one step late so that nothing waits."""

import time
from collections.abc import Mapping

import jax
from jax import Array

from research.config import Experiment
from research.schedules import schedule
from research.training.metrics import Metrics, Row
from research.training.progress import Silent


class Log:
    """Holds a step's sums while the device works on the next, then writes them with the time it took.

    Seconds are of training alone: the clock stands still from `pause` to `resume`.
    """

    def __init__(self, experiment: Experiment, metrics: Metrics, display: Silent):
        self._metrics, self._display = metrics, display
        self._rate = schedule(experiment.optimizer.rate, experiment.run.steps)
        self._tokens_a_step = experiment.data.batch * experiment.data.length
        self._seconds = max((row["seconds"] for row in metrics.rows if row["split"] == "train"), default=0.0)
        self._held: tuple[int, Mapping[str, Array]] | None = None

    def hold(self, step: int, sums: Mapping[str, Array]) -> None:
        self._held = step, sums

    def settle(self) -> None:
        """Writes the row that is held, if any; waits for its step, not for the one after."""
        if self._held is None:
            return
        step, sums = self._held
        numbers = {name: float(value) for name, value in jax.device_get(sums).items()}
        elapsed, steps = self._lap(), step - self._step
        self._step, self._held = step, None
        self.write(
            {
                "step": step,
                "split": "train",
                **numbers,
                "learning_rate": float(self._rate(step - 1)),
                "tokens": step * self._tokens_a_step,
                "seconds": round(self._seconds, 3),
                "tokens_per_second": round(steps * self._tokens_a_step / elapsed, 1),
            }
        )

    def pause(self) -> None:
        self.settle()
        self._lap()

    def resume(self, step: int) -> None:
        self._since, self._step = time.perf_counter(), step

    def write(self, row: Row) -> None:
        self._metrics.write(row)
        self._display.row(row)

    def _lap(self) -> float:
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        self._seconds += elapsed
        return elapsed
