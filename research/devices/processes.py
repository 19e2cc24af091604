"""Decisions that several processes must share: the first process decides for all."""

import time
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from research.errors import EnvironmentFault, LineageError

REFUSED = -1
CLOCK_EVERY = 10  # steps between checks of the clock, if nothing else synchronizes processes


def agreed(decide: Callable[[], int]) -> int:
    """The first process's result of `decide` (0 or more); all processes raise if it raises."""
    if jax.process_count() == 1:
        return decide()
    decision, fault = REFUSED, None
    if jax.process_index() == 0:
        try:
            decision = decide()
        except LineageError as error:
            fault = error
    decision = int(multihost_utils.broadcast_one_to_all(np.int32(decision)))
    if fault is not None:
        raise fault
    if decision == REFUSED:
        raise EnvironmentFault("process 0 stopped with an error; its message says why")
    return decision


def smallest(megabytes: int | None) -> int | None:
    """The minimum over all processes; None counts as no number, and is the result if no process has one."""
    if jax.process_count() == 1 or megabytes is None:
        return megabytes
    return int(multihost_utils.process_allgather(np.int32(megabytes)).min())


class Minutes:
    """Checks whether some minutes have passed, by the clock of the first process, so that all agree."""

    def __init__(self, minutes: float, every: int):
        """Several processes compare clocks only at the first step at or after each multiple of `every`."""
        self._seconds, self._every, self._checked = 60 * minutes, every or CLOCK_EVERY, 0
        self.restart()

    def restart(self) -> None:
        """Restarts the clock."""
        self._since = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether the time has passed. Call it after every call of the step."""
        turn, self._checked = step // self._every > self._checked // self._every, step
        if not self._seconds or (jax.process_count() > 1 and not turn):
            return False
        return bool(agreed(lambda: int(time.monotonic() - self._since >= self._seconds)))
