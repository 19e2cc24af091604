"""Traced hyperparameters in a declaration, inside a program that has them as inputs."""

import operator
from collections.abc import Mapping
from typing import Any

from jax.tree_util import register_pytree_node

from research.config import Experiment
from research.config.hyperparameters import SHARES, replaced


def fill(experiment: Experiment, values: Mapping[str, Any] | None) -> Experiment:
    """Puts the traced `values` that `split` removed back into `experiment`; None: unchanged.

    The model keeps the placeholder `INPUT` as a constant: see `research.models.ops.dropout.input_rate`.
    """
    numbers = {name: Beta(*value) if name in SHARES else value for name, value in (values or {}).items()}
    return replaced(experiment, {k: v for k, v in numbers.items() if not k.startswith("model.")})


class Beta:
    """A traced decay of a running mean, near 1: float32 has too few digits for 1 minus it."""

    def __init__(self, value: Any, rest: Any):
        self._value, self._rest = value, rest

    def __jax_array__(self) -> Any:
        return self._value

    def __rsub__(self, other: Any) -> Any:
        return self._rest if isinstance(other, int | float) and other == 1 else other - self._value

    def __eq__(self, other: object) -> bool:
        """Refused but for 0, which makes another program: Python would compare identities."""
        if isinstance(other, int | float) and other == 0:
            return False
        raise TypeError(f"a traced number is compared with {other!r}")

    __hash__ = object.__hash__

    def __pow__(self, power: Any) -> Any:
        return self._value**power


def _forwarded(function: Any) -> Any:
    return lambda beta, *others: function(beta._value, *others)


def _reflected(function: Any) -> Any:
    return lambda beta, other: function(other, beta._value)


for _name in ("add", "sub", "mul", "truediv", "lt", "le", "gt", "ge", "neg"):
    setattr(Beta, f"__{_name}__", _forwarded(getattr(operator, _name)))
for _name in ("add", "mul", "truediv", "pow"):
    setattr(Beta, f"__r{_name}__", _reflected(getattr(operator, _name)))
register_pytree_node(Beta, lambda beta: ((beta._value, beta._rest), None), lambda _, parts: Beta(*parts))
