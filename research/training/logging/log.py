"""Writes a step's metrics one step late, so that the device never idles."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import Array

from research.runs.metrics_log import Metrics, Row
from research.training.logging.progress import Silent


class Log:
    """Holds a step's sums while the device computes the next step, then writes them with their time.

    Seconds count training only: the clock stops from `pause` to `resume`. `rate` maps the number of updates
    to the learning rate, `tokens` the number of steps to tokens.
    """

    def __init__(
        self,
        rate: Callable[[int], Any],
        tokens: Callable[[int], int],
        metrics: Metrics,
        display: Silent,
    ):
        self._rate, self._tokens, self._metrics, self._display = rate, tokens, metrics, display
        self._seconds = max((row["seconds"] for row in metrics.rows if row["split"] == "train"), default=0.0)
        self._held: list[tuple[int, Mapping[str, Array]]] = []

    def hold(self, step: int, sums: Mapping[str, Array]) -> None:
        """Keeps the metrics of a step still being computed."""
        self._held.append((step, sums))

    def settle(self) -> None:
        """Writes the held rows, waiting only for their steps.

        The steps of a call share its time equally.
        """
        if not self._held:
            return
        held, self._held = jax.device_get(self._held), []
        last, seconds = held[-1][0], self._seconds
        elapsed, tokens = self._lap(), self._tokens(last) - self._tokens(self._step)
        for step, sums in held:
            share = (step - self._step) / (last - self._step)
            self.write(
                {
                    "step": step,
                    "split": "train",
                    **{name: float(value) for name, value in sums.items()},
                    "learning_rate": float(self._rate(step - 1)),
                    "tokens": self._tokens(step),
                    "seconds": round(seconds + share * elapsed, 3),
                    "tokens_per_second": round(tokens / elapsed, 1),
                }
            )
        self._step = last

    def pause(self) -> None:
        """Writes the held rows and stops the clock."""
        self.settle()
        self._lap()

    def resume(self, step: int) -> None:
        """Starts the clock after `step`."""
        self._since, self._step = time.perf_counter(), step

    def write(self, row: Row) -> None:
        """Writes a row to the metrics log and to the display."""
        self._metrics.write(row)
        self._display.row(row)

    def _lap(self) -> float:
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        self._seconds += elapsed
        return elapsed
