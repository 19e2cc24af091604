"""The numbers of a declaration that a sweep varies, apart from what they leave: the shape of a program.

With run.hyperparameters=inputs a program is compiled for a declaration without them (`split`), and puts their
traced values back where functions take sections (`research.runs.traced_numbers`). A number that is none or 0
stays: without clipping, dropout or a z-loss a program is another one. Standard library only.
"""

import copy
import operator
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any

from research.config.experiment import Experiment

SHARES = ("optimizer.b1", "optimizer.b2", "optimizer.ema")  # near 1: programs need their distance from it
NUMBERS = (
    *SHARES,
    "optimizer.rate.peak",
    "optimizer.rate.warmup",
    "optimizer.rate.final",
    "optimizer.rate.cooldown",
    "optimizer.epsilon",
    "optimizer.decay",
    "optimizer.clip",
    "model.dropout",
    "objective.auxiliary",
    "objective.next",
    "objective.z_loss",
    "run.skip_spikes",
    "run.steps",  # as schedules see it
)
SEED = "run.seed"
INTEGERS = (SEED, "run.steps", "optimizer.rate.warmup")
LARGEST = 2**31  # of integers that a program takes

Values = dict[str, Any]  # by name: a number, or of a share the pair of it and its distance from 1


_comparing: ContextVar[bool] = ContextVar("whether inputs may be compared", default=True)


class Input(Enum):
    """Stands where a number other than 0 was. Arithmetic with it is an error, so that no answer is compiled.

    So are comparisons inside `without_comparisons`; elsewhere they are what makes declarations differ.
    """

    INPUT = "input"

    def __repr__(self) -> str:
        return "INPUT"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int | float) and other != 0 and not _comparing.get():
            raise TypeError(f"an input of the program is compared with {other!r}")
        return self is other

    __hash__ = Enum.__hash__


@contextmanager
def without_comparisons() -> Iterator[None]:
    """Traces a program of which numbers are inputs, where Python cannot know what they are."""
    token = _comparing.set(False)
    try:
        yield
    finally:
        _comparing.reset(token)


INPUT = Input.INPUT


def split(experiment: Experiment) -> tuple[Experiment, Values]:
    """The declaration with `INPUT` for every number that is an input, and those numbers."""
    values: Values = {SEED: (experiment.run.seed + LARGEST) % (2 * LARGEST) - LARGEST}  # as JAX takes seeds
    for name in NUMBERS:
        number = operator.attrgetter(name)(experiment)
        if number and not (name in INTEGERS and number >= LARGEST):
            values[name] = _value(name, number)
    return replaced(experiment, dict.fromkeys(values, INPUT)), values


def examples(names: Iterable[str]) -> Values:
    """Values of the types that those of `names` have."""
    return {name: _value(name, 0.5 if name not in INTEGERS else 1) for name in names}


def _value(name: str, number: Any) -> Any:
    if name in INTEGERS:
        return int(number)
    return (float(number), float(1 - number)) if name in SHARES else float(number)


def is_zero(number: Any) -> bool:
    """Whether a number was declared as 0. A traced one was not."""
    return isinstance(number, int | float) and number == 0


def replaced(config: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of a declaration with dotted names set to what its checks would not take."""
    for name, value in changes.items():
        config = _with(config, name.split("."), value)
    return config


def _with(config: Any, name: list[str], value: Any) -> Any:
    changed, (first, *rest) = copy.copy(config), name
    object.__setattr__(changed, first, _with(getattr(config, first), rest, value) if rest else value)
    return changed
