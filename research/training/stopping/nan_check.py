"""Stops a run at the first step whose loss, gradient or update is not finite."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jax import Array

from research.errors import Diverged

CHECKED = {  # of the step's sums
    "loss": "the loss is not finite",
    "gradient_norm": "the gradient is not finite",
    "update_norm": "the optimizer's update is not finite, its gradient is",
}
SCALE = "loss_scale"


class NanCheck:
    """Checks step t after dispatching step t + 1, so that the device never idles."""

    def __init__(self, directory: Path, enabled: bool):
        """`enabled` is `run.stop_on_nan`."""
        self._directory, self._enabled = directory, enabled
        self._held: tuple[int, dict[str, Array]] | None = None

    def hold(self, step: int, sums: Mapping[str, Array]) -> None:
        """Checks the held call, then holds this one, whose last step is `step`. Raises Diverged."""
        self.settle()
        if self._enabled:
            self._held = step, {name: sums[name] for name in (*CHECKED, SCALE) if name in sums}

    def settle(self) -> None:
        """Checks the held call. Call it before its state is evaluated or saved. Raises Diverged."""
        if self._held is None:
            return
        (step, numbers), self._held = self._held, None
        # By name, and per step of the call.
        values = {name: np.reshape(value, -1) for name, value in jax.device_get(numbers).items()}
        scale = values.pop(SCALE, np.ones(1))
        finite = {name: np.isfinite(value) for name, value in values.items()}
        finite["gradient_norm"] |= np.isfinite(values["loss"]) & (scale > 1)  # an overflow lowers the scale
        finite_S = np.all(list(finite.values()), axis=0)
        if not finite_S.all():
            first = int(finite_S.argmin())
            step -= len(finite_S) - 1 - first
            fault = next(text for name, text in CHECKED.items() if name in finite and not finite[name][first])
            raise Diverged(
                f"step {step}: {fault} (run.stop_on_nan); "
                f"look at its batch: lineage batch {self._directory} --step {step - 1}"
            )
