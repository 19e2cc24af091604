"""Transfers batches to the devices ahead of time."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from research.config import Run
from research.devices.compilers import Compiled
from research.training.multi_step import call_ranges


def prefetch_to_device(program: Compiled, read: Any, run: Run, start: int) -> Iterator[tuple[range, Any]]:
    """Yields (steps, their batches for `program.step`) to the run's end, transferred one call ahead."""
    with closing(read):
        ahead = None
        for steps in call_ranges(run, start):
            batch = [program.feed(batch) for batch in islice(read, len(steps))]
            if ahead is not None:
                yield ahead
            ahead = steps, batch[0] if run.steps_per_call == 1 else batch
        if ahead is not None:
            yield ahead
