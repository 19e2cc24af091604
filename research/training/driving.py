"""Drivers that execute the steps of one run, or of several at once.

A run is a generator. It yields `Begun` and receives a function that returns its current state; then it yields
the batch of each call of the step and receives the call's sums. So the code of a run (log, checkpoints,
stopping) is the same for one run and for several.
"""

from collections.abc import Generator
from contextlib import redirect_stdout
from functools import partial
from typing import Any, NamedTuple, NoReturn, TextIO, TypeVar

from research.config import Experiment
from research.devices.compilers import Compiled, compile_ahead
from research.devices.malloc import release_free_memory
from research.io.activity import activity
from research.runs.state import State
from research.training.stopping.signals import Stop
from research.training.stopping.watchdog import Watchdog

R = TypeVar("R")
Running = Generator[Any, Any, R]


class Begun(NamedTuple):
    """A prepared run that asks for its first step."""

    experiment: Experiment  # settled for the devices
    program: Compiled
    state: State  # the first


class Outer(NamedTuple):
    """Signals and watchdog for all runs of a process, if a driver has several."""

    stop: Stop
    watch: Watchdog


def alone(run: Running[R], begun: Begun | None = None) -> R:
    """Executes a run by itself, from its start or after `begun`, to its end; returns its result."""
    try:
        _steps(run, begun or next(run))
    except StopIteration as ended:
        return ended.value


def printing_to(log: TextIO, run: Running[R]) -> Running[R]:
    """`run` with its output redirected to `log`, also while runs take turns."""
    go_on = partial(next, run)
    while True:
        with redirect_stdout(log):
            try:
                asked = go_on()
            except StopIteration as ended:
                return ended.value
        try:
            go_on = partial(run.send, (yield asked))
        except BaseException as error:  # also GeneratorExit: the run cleans up
            go_on = partial(run.throw, error)


def _steps(run: Running[Any], begun: Begun) -> NoReturn:
    """Executes steps until the run raises StopIteration."""
    program, state = begun.program, begun.state
    del begun
    batch, fresh = run.send(lambda: state), True
    while True:
        try:
            if fresh:
                with activity("compiling the training step"):
                    compile_ahead(program, state, batch)
            state, sums = program.step(state, batch)
            if fresh:
                release_free_memory()
        except BaseException as error:  # goes to the run, which closes its files and may add to it
            batch = run.throw(error)
            continue
        fresh = False
        batch = run.send(sums)
