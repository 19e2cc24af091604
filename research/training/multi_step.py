"""Several steps in one call of a compiled program.

Reallocating buffers and dispatching from Python cost about half of a small model's step. Which steps share a
call depends only on their numbers, so a resumed run makes the same calls as one that was never stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from research.config import Run


def multi_step(step: Callable, run: Run) -> Callable:
    """Wraps `step` to do `run.steps_per_call` steps in one call; unchanged for 1.

    (state, batch) → (state, sums) becomes (state, [batch, …]) → (state, sums with a leading axis of steps).
    """
    if run.steps_per_call == 1:
        return step

    def steps(state: Any, batches: Sequence[Any], **named) -> tuple[Any, Any]:
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *batches)
        return lax.scan(lambda state, batch: step(state, batch, **named), state, stacked)

    return steps


def step_sums(run: Run, sums: Mapping[str, Array], index: int) -> Mapping[str, Array]:
    """The sums of step `index` of a call, from 0."""
    return sums if run.steps_per_call == 1 else {name: value[index] for name, value in sums.items()}


def call_ranges(run: Run, start: int) -> Iterator[range]:
    """Yields the steps after `start`, in calls that end at multiples of `run.steps_per_call`."""
    size = run.steps_per_call
    for first in range(start - start % size, run.steps, size):
        yield range(max(first, start) + 1, min(first + size, run.steps) + 1)
