"""Stops a run at the step whose loss or gradient is not finite."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jax import Array

from research.errors import Diverged


class NanCheck:
    """Looks at a step's numbers once the device has the next step to work on, so that it need not wait."""

    def __init__(self, directory: Path, asked: bool):
        """`asked` is `run.stop_on_nan`: without it, nothing is looked at."""
        self._directory, self._asked = directory, asked
        self._held: tuple[int, tuple[Array, Array]] | None = None

    def hold(self, step: int, sums: Mapping[str, Array]) -> None:
        """Raises `Diverged` where what was held before was not finite; `step` is the last of a call's."""
        self.settle()
        if self._asked:
            self._held = step, (sums["loss"], sums["gradient_norm"])

    def settle(self) -> None:
        """The same, of what is held now; called before its state is evaluated or saved."""
        if self._held is None:
            return
        (step, numbers), self._held = self._held, None
        sound_S = np.isfinite(jax.device_get(numbers)).reshape(2, -1).all(0)  # of a call's steps, or of one
        if not sound_S.all():
            step -= len(sound_S) - 1 - int(sound_S.argmin())
            raise Diverged(
                f"step {step}: the loss or its gradient is not finite (run.stop_on_nan); "
                f"look at its batch: lineage batch {self._directory} --step {step - 1}"
            )
