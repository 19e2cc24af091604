"""What several processes must agree on, and how: one decides, all follow."""

import time
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from research.errors import EnvironmentFault, LineageError

REFUSED = -1
ASKED_EVERY = 10  # steps, where the clock is asked and nothing else makes processes wait for each other


def agreed(answer: Callable[[], int]) -> int:
    """What the first process answers, 0 or more, in all of them; where it raises, all do."""
    if jax.process_count() == 1:
        return answer()
    given, fault = REFUSED, None
    if jax.process_index() == 0:
        try:
            given = answer()
        except LineageError as error:
            fault = error
    given = int(multihost_utils.broadcast_one_to_all(np.int32(given)))
    if fault is not None:
        raise fault
    if given == REFUSED:
        raise EnvironmentFault("process 0 does not go on; it says why")
    return given


class Minutes:
    """Whether so many minutes have passed, by the first process's clock: others' tell another time."""

    def __init__(self, minutes: float, every: int):
        """Of several processes, all ask at the same steps: the first at or after each multiple of `every`."""
        self._seconds, self._every, self._asked = 60 * minutes, every or ASKED_EVERY, 0
        self.restart()

    def restart(self) -> None:
        self._since = time.monotonic()

    def due(self, step: int) -> bool:
        turn, self._asked = step // self._every > self._asked // self._every, step
        if not self._seconds or (jax.process_count() > 1 and not turn):
            return False
        return bool(agreed(lambda: int(time.monotonic() - self._since >= self._seconds)))
