"""What several processes must share: decisions, which the first process makes for all, settings and files."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from research.errors import EnvironmentFault, LineageError, UsageError
from research.io.activity import activity

REFUSED = -1
LATE = 60  # seconds after which every file system of a network shows a new file on other machines
CLOCK_EVERY = 10  # steps between checks of the clock, if nothing else synchronizes processes


def agreed(decide: Callable[[], int]) -> int:
    """The first process's result of `decide` (0 or more); if it raises, all raise with its message."""
    if jax.process_count() == 1:
        return decide()
    decision, fault = REFUSED, None
    if jax.process_index() == 0:
        try:
            decision = decide()
        except Exception as error:
            fault = error
    decision = int(multihost_utils.broadcast_one_to_all(np.int32(decision)))
    if decision == REFUSED:
        text = _of_first(json.dumps([isinstance(fault, UsageError), _message(fault)]))
        if fault is not None:
            raise fault
        usage, message = json.loads(text)
        raise (UsageError if usage else EnvironmentFault)(message)
    return decision


def _of_first(text: str) -> str:
    """The first process's text."""
    characters = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(characters.size)))
    return multihost_utils.broadcast_one_to_all(np.resize(characters, size)).tobytes().decode()


def _message(fault: Exception | None) -> str:
    return (
        str(fault) if fault is None or isinstance(fault, LineageError) else f"{type(fault).__name__}: {fault}"
    )


def smallest(megabytes: int | None) -> int | None:
    """The minimum over all processes; None counts as no number, and is the result if no process has one."""
    if jax.process_count() == 1 or megabytes is None:
        return megabytes
    return int(multihost_utils.process_allgather(np.int32(megabytes)).min())


def refuse_differences(facts: Mapping[str, Any]) -> None:
    """Raises UsageError in all processes if `facts` (JSON values by name) of one differ from the first's.

    Other settings in one process would give wrong numbers, or collectives that wait for each other forever.
    """
    if jax.process_count() == 1:
        return
    mine = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    longest = int(multihost_utils.process_allgather(np.int32(mine.size)).max())
    rows = multihost_utils.process_allgather(np.pad(mine, (0, longest - mine.size)))
    first, *others = (json.loads(row.tobytes().rstrip(b"\0")) for row in rows)
    for index, other in enumerate(others, 1):
        for name in first | other:
            if first.get(name) != other.get(name):
                raise UsageError(
                    f"{name}: {first.get(name)} in process 0, {other.get(name)} in process {index}; "
                    "expected the same in all processes"
                )


def check_shared(file: Path) -> None:
    """Raises UsageError in all processes unless each has the `file` that the first one has written.

    File systems of a network may show it late.
    """
    if jax.process_count() == 1:
        return
    expected = multihost_utils.broadcast_one_to_all(_digest(file))
    with activity(f"waiting until every process sees {file.parent}"):
        deadline = time.monotonic() + LATE
        while not (same := np.array_equal(_digest(file), expected)) and time.monotonic() < deadline:
            time.sleep(0.2)
        seen = multihost_utils.process_allgather(np.int32(same))
    if not seen.all():
        raise UsageError(
            f"{file.parent}: process {int(seen.argmin())} has another directory of this name than process 0; "
            "expected one on a file system that all processes share"
        )


def _digest(file: Path) -> np.ndarray:
    try:
        content = file.read_bytes()
    except OSError:
        content = b""
    return np.frombuffer(hashlib.sha256(content).digest(), np.uint8)


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
