"""Separates the numbers of a declaration that a sweep varies from the rest, which determines the program.

With run.hyperparameters=inputs a program is compiled for a declaration without these numbers (`split`), and
puts their traced values back (`research.runs.traced_numbers`). A number that is none or 0 stays: without
clipping, dropout or a z-loss the program differs. So does a layer decay of 1. Standard library only.
"""

import copy
import dis
import operator
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from research.config import own
from research.config.experiment import Experiment
from research.config.settings import flatten
from research.scoped import Scoped

SHARES = ("optimizer.b1", "optimizer.b2", "optimizer.ema")  # near 1: programs also need their distance from 1
LAYER_DECAY = "optimizer.rate.layer_decay"
NUMBERS = (
    *SHARES,
    "optimizer.rate.peak",
    "optimizer.rate.warmup",
    "optimizer.rate.final",
    "optimizer.rate.cooldown",
    LAYER_DECAY,
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
DISTILLED = ("objective.soft", "objective.temperature", "objective.hidden")  # with a teacher
SEED = "run.seed"
INTEGERS = (SEED, "run.steps", "optimizer.rate.warmup")
LARGEST = 2**31  # integer input of a program

Values = dict[str, Any]  # by name: a number, or for SHARES a pair of it and its distance from 1


COMPARISONS = {dis.opmap[name] for name in ("COMPARE_OP", "CONTAINS_OP")}

comparable = Scoped("whether inputs may be compared", True)


def _compared_by_code() -> bool:
    """Whether an operator in Python code calls `Input.__eq__`, and not that of a whole declaration.

    JAX compares arguments of earlier calls as well, from native code, whenever their hashes happen to agree.
    """
    frame = sys._getframe(2)
    return frame.f_code.co_name != "__eq__" and frame.f_code.co_code[frame.f_lasti] in COMPARISONS


class Input(Enum):
    """Placeholder for a nonzero number. Arithmetic with it is an error, so that no result is compiled in.

    So are comparisons where they are not `comparable`, but for those of whole declarations, by which JAX
    finds a compiled program.
    """

    INPUT = "input"

    def __repr__(self) -> str:
        return "INPUT"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int | float) and other != 0 and not comparable.get() and _compared_by_code():
            raise TypeError(f"an input of the program is compared with {other!r}")
        return self is other

    __hash__ = Enum.__hash__


INPUT = Input.INPUT


def split(experiment: Experiment) -> tuple[Experiment, Values]:
    """The declaration with `INPUT` in place of every input number, and those numbers."""
    values: Values = {SEED: (experiment.run.seed + LARGEST) % (2 * LARGEST) - LARGEST}  # as JAX takes seeds
    distilled = () if experiment.objective.teacher is None else DISTILLED
    for name in (*NUMBERS, *distilled, *_own(experiment)):
        number = operator.attrgetter(name)(experiment)
        if not number or (name == LAYER_DECAY and number == 1):
            continue
        if not (name in INTEGERS and number >= LARGEST):
            values[name] = _value(name, number)
    return replaced(experiment, dict.fromkeys(values, INPUT)), values


def _own(experiment: Experiment) -> list[str]:
    """Settings of other packages that are real numbers, apart from those of a model's parts."""
    flat = flatten(experiment)
    return [
        name
        for name in flat
        if own.split(name) and not name.startswith("model.") and isinstance(flat[name], float)
    ]


def examples(names: Iterable[str]) -> Values:
    """Example values with the types of `names`."""
    return {name: _value(name, 0.5 if name not in INTEGERS else 1) for name in names}


def _value(name: str, number: Any) -> Any:
    if name in INTEGERS:
        return int(number)
    return (float(number), float(1 - number)) if name in SHARES else float(number)


def is_zero(number: Any) -> bool:
    """Whether a number is declared as 0; a traced number is not."""
    return isinstance(number, int | float) and number == 0


def is_one(number: Any) -> bool:
    """Whether a number is declared as 1; a traced number is not."""
    return isinstance(number, int | float) and number == 1


def replaced(config: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of a declaration with dotted names set, without its checks."""
    for name, value in changes.items():
        config = _with(config, name.split("."), value)
    return config


def _with(config: Any, name: list[str], value: Any) -> Any:
    changed, (first, *rest) = copy.copy(config), name
    object.__setattr__(changed, first, _with(getattr(config, first), rest, value) if rest else value)
    return changed
