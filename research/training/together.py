"""Trains runs of one shape in one program: `vmap` maps the step over lanes, one per run.

This is for accelerators, which a small model's step leaves mostly idle. Lanes are independent: each has its
own data and step, and stops on its own; the next run takes a free lane. Results equal those of a run trained
alone up to rounding. Runs of another shape wait until the lanes are free. Runs that cannot share a program
(it needs one device and run.hyperparameters=inputs) are trained one by one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from research.config import Experiment
from research.devices import xla
from research.devices.compilers import Compiled
from research.errors import UsageError
from research.io.activity import activity
from research.runs.state import State
from research.training.driving import Begun, Running, alone
from research.training.shared_program import shared_program

Waiting = tuple[Running[None], Begun] | None  # a run without a lane yet


class Lane(NamedTuple):
    run: Running[None]
    batch: Any  # of the next step


def together(
    begin: Callable[[], Running[None] | None], lanes: int, rest: Callable[[], None] = lambda: None
) -> None:
    """Trains the runs that `begin` gives, up to `lanes` at once, until it gives None and all have ended.

    `rest` is called before each run is prepared, when no step may finish for a long time.
    """

    def rested() -> Running[None] | None:
        rest()
        return begin()

    waiting = _next(rested)
    while waiting is not None:
        run, begun = waiting
        if lanes > 1 and shares(begun.experiment):
            waiting = _Group(begun, lanes).train(waiting, rested)
        else:
            alone(run, begun)
            waiting = _next(rested)


def shares(experiment: Experiment) -> bool:
    """Whether runs of this settled experiment may share a program."""
    run, data = experiment.run, experiment.data
    inputs = run.hyperparameters == "inputs" and experiment.parallel.compile == "jit"
    plain = not (data.later.step or run.profile or run.deterministic or experiment.objective.teacher)
    return inputs and run.steps_per_call == 1 and plain


def _next(begin: Callable[[], Running[None] | None]) -> Waiting:
    """The next run that needs steps, and its first request."""
    while (run := begin()) is not None:
        begun = _request(partial(next, run))
        if begun is not None:
            return run, begun
    return None


def _request(go_on: Callable[[], Any]) -> Any:
    """The next request of a run that goes on; None once it has ended."""
    try:
        return go_on()
    except StopIteration:
        return None


class _Group:
    """The lanes of one shape."""

    def __init__(self, begun: Begun, lanes: int):
        self._program, self._step = begun.program, step_of_lanes(shared_program(begun.experiment).step)
        self._states = _repeated(lanes)(begun.state)
        self._lanes: list[Lane | None] = [None] * lanes
        self._compiled = False

    def train(self, waiting: Waiting, begin: Callable[[], Running[None] | None]) -> Waiting:
        """Trains runs until one of another shape is `waiting`, which is returned, or none is left.

        A run begins only when there is a lane for it.
        """
        try:
            return self._train(waiting, begin)
        finally:  # after an error of one run, which must not affect the others
            for lane in filter(None, self._lanes):
                lane.run.close()

    def _train(self, waiting: Waiting, begin: Callable[[], Running[None] | None]) -> Waiting:
        ended = False
        while True:
            for number in range(len(self._lanes)):
                while self._lanes[number] is None and not ended:
                    waiting = _next(begin) if waiting is None else waiting
                    if waiting is None or not self._fits(waiting[1]):
                        ended = True
                    else:
                        self._place(number, *waiting)
                        waiting = None
            running = [lane for lane in self._lanes if lane is not None]
            if not running:
                return waiting
            batches = [running[0].batch if lane is None else lane.batch for lane in self._lanes]
            try:
                if not self._compiled:
                    with activity("compiling the training step"):
                        self._step.lower(self._states, batches).compile()
                    self._compiled = True
                self._states, sums = self._step(self._states, batches)
            except Exception as error:  # out of memory, for example: the lanes' arrays are lost
                for lane in running:
                    _request(partial(lane.run.throw, error))
                return waiting
            for number, lane in enumerate(self._lanes):
                if lane is not None:
                    self._go_on(number, lane.run, sums[number])

    def _fits(self, begun: Begun) -> bool:
        return begun.program is self._program and shares(begun.experiment)

    def _place(self, number: int, run: Running[None], begun: Begun) -> None:
        self._states, values = _put(self._states, begun.state, number), begun.state.hyperparameters
        del begun
        self._go_on(number, run, lambda: _take(self._states, number).replace(hyperparameters=values))

    def _go_on(self, number: int, run: Running[None], answer: Any) -> None:
        batch = _request(partial(run.send, answer))
        self._lanes[number] = None if batch is None else Lane(run, batch)


def check_shares(experiment: Experiment) -> None:
    """Raises UsageError if runs of this settled experiment cannot share a program."""
    if not shares(experiment):
        raise UsageError(
            "--together: runs share a program only with run.hyperparameters=inputs on one device; expected "
            "parallel.compile=jit, run.steps_per_call=1, and no data.later, run.profile, run.deterministic "
            "or objective.teacher"
        )


def of_lanes(experiment: Experiment, devices: Sequence[Any], lanes: int) -> tuple[State, Compiled]:
    """The shapes of the states of `lanes` runs, and a program whose step takes one batch for all of them."""
    shared = shared_program(experiment, devices)
    step = step_of_lanes(shared.step)
    states = jax.tree.map(lambda x: jax.ShapeDtypeStruct((lanes, *x.shape), x.dtype), shared.abstract)
    return states, shared.program._replace(
        step=step, lower=lambda states, batch: step.lower(states, [batch] * lanes)
    )


def step_of_lanes(step: Callable) -> Any:
    """(states of all lanes, a batch for each) → (states, sums of each)."""

    def steps(states: Any, batches: list[Any]) -> tuple[Any, list[Any]]:
        stacked = jax.tree.map(lambda *parts: jnp.stack(parts), *batches)
        states, sums = jax.vmap(step)(states, stacked)
        return states, [jax.tree.map(lambda x, n=n: x[n], sums) for n in range(len(batches))]

    return xla.jit(steps, donate_argnums=0)


def _repeated(lanes: int) -> Callable[[Any], Any]:
    """Copies a state into every lane."""
    return jax.jit(partial(jax.tree.map, lambda x: lax.broadcast(x, (lanes,))))


@partial(jax.jit, donate_argnums=0)
def _put(states: Any, state: Any, number: Any) -> Any:
    """Uses a selection: an indexed update would make a number's type strong, and so change the program."""

    def put(every: Any, x: Any) -> Any:
        return jnp.where((jnp.arange(len(every)) == number).reshape(-1, *[1] * x.ndim), x, every)

    return jax.tree.map(put, states, state)


@jax.jit
def _take(states: Any, number: Any) -> Any:
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, number, keepdims=False), states)
