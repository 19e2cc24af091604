"""How a run's steps are made: it asks for each, and a driver makes those of one run, or of several at once.

A run is a generator. It yields `Begun`, and is sent a function that returns its present state; then it yields
the batch of each call of the step, and is sent the call's sums. So whatever belongs to one run (its log, its
checkpoints, when it stops) is written once, and knows of no other.
"""

from collections.abc import Callable, Generator
from contextlib import redirect_stdout
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
    """A run that is prepared and asks for its first step."""

    experiment: Experiment  # settled for the devices
    program: Compiled
    state: State  # the first


class Outer(NamedTuple):
    """What watches over all runs of a process, where one driver has several."""

    stop: Stop
    watch: Watchdog


def alone(run: Running[R]) -> R:
    """The result of a run that has the devices for itself."""
    try:
        _steps(run, next(run))
    except StopIteration as ended:
        return ended.value


def stepped(run: Running[Any], begun: Begun) -> None:
    """Makes the steps of a run that has begun, to its end."""
    resumed(lambda: _steps(run, begun))


def resumed(go_on: Callable[[], Any]) -> Any:
    """What a run asks for when it goes on; None once it has ended."""
    try:
        return go_on()
    except StopIteration:
        return None


def printing_to(log: TextIO, run: Running[R]) -> Running[R]:
    """`run`, whose output goes to `log`, also where runs take turns."""
    answer, error = None, None
    while True:
        with redirect_stdout(log):
            try:
                asked = run.send(answer) if error is None else run.throw(error)
            except StopIteration as ended:
                return ended.value
        try:
            answer, error = (yield asked), None
        except BaseException as thrown:  # also at its end: the run has its own to do
            answer, error = None, thrown


def _steps(run: Running[Any], begun: Begun) -> NoReturn:
    """Ends with the run, by its StopIteration."""
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
        except BaseException as error:  # is the run's: it closes its files, and may say more
            batch = run.throw(error)
            continue
        fresh = False
        batch = run.send(sums)
