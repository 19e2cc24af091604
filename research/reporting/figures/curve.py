"""A curve of a figure, and the settings that its label needs."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

OVER = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}


class Curve(NamedTuple):
    """Points P of a group of runs; the error is the standard error of the mean, None for one run."""

    label: str
    split: str
    runs: int
    seeds: int  # the fewest of a point
    x_P: np.ndarray
    mean_P: np.ndarray
    error_P: np.ndarray | None
    joined: bool = True  # by a line
    also: tuple[str, ...] = ()  # settings in which the points differ too


def enough(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Those of `names` that are enough to tell settings apart: a legend has no room for more."""
    kept: list[str] = []
    for name in names:
        if different(settings, [*kept, name]) > different(settings, kept):
            kept.append(name)
    return kept


def different(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """How many settings there are, by `names` alone."""
    return len({tuple(str(one.get(name)) for name in names) for one in settings})
