"""Stops a run at the first step whose loss or gradient is not finite."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jax import Array

from research.errors import Diverged


class NanCheck:
    """Checks step t after dispatching step t + 1, so that the device never idles."""

    def __init__(self, directory: Path, enabled: bool):
        """`enabled` is `run.stop_on_nan`."""
        self._directory, self._enabled = directory, enabled
        self._held: tuple[int, tuple[Array, Array]] | None = None

    def hold(self, step: int, sums: Mapping[str, Array]) -> None:
        """Checks the held call, then holds this one, whose last step is `step`. Raises Diverged."""
        self.settle()
        if self._enabled:
            self._held = step, (sums["loss"], sums["gradient_norm"])

    def settle(self) -> None:
        """Checks the held call. Call it before its state is evaluated or saved. Raises Diverged."""
        if self._held is None:
            return
        (step, numbers), self._held = self._held, None
        finite_S = np.isfinite(jax.device_get(numbers)).reshape(2, -1).all(0)  # per step of the call
        if not finite_S.all():
            step -= len(finite_S) - 1 - int(finite_S.argmin())
            raise Diverged(
                f"step {step}: the loss or its gradient is not finite (run.stop_on_nan); "
                f"look at its batch: lineage batch {self._directory} --step {step - 1}"
            )
