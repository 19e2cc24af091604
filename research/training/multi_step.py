"""Several steps in one call of a compiled program.

Reallocating buffers and dispatching from Python cost about half of a small model's step. Which steps share a
call depends on their numbers alone, so a run that goes on makes the same calls as one that was never stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from research.config import Run


def multi_step(step: Callable, run: Run) -> Callable:
    """`step`, or with `run.steps_per_call` above 1 several steps in one call.

    (state, batch) → (state, sums) becomes (state, [batch, …]) → (state, sums with an axis of steps before).
    """
    if run.steps_per_call == 1:
        return step

    def steps(state: Any, batches: Sequence[Any], **named) -> tuple[Any, Any]:
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *batches)
        return lax.scan(lambda state, batch: step(state, batch, **named), state, stacked)

    return steps


def step_sums(run: Run, sums: Mapping[str, Array], index: int) -> Mapping[str, Array]:
    """The sums of one of a call's steps, counted from 0."""
    return sums if run.steps_per_call == 1 else {name: value[index] for name, value in sums.items()}


def call_ranges(run: Run, start: int) -> Iterator[range]:
    """The steps after `start` to the last, in calls that end at multiples of `run.steps_per_call`."""
    size = run.steps_per_call
    for first in range(start - start % size, run.steps, size):
        yield range(max(first, start) + 1, min(first + size, run.steps) + 1)
