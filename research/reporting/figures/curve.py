"""A curve of a figure, and the choice of settings for its label."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

OVER = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}


class Curve(NamedTuple):
    """Points P of a group of runs; the error is the standard error of the mean, None for one run."""

    label: str
    split: str
    runs: int
    seeds: int  # the fewest at a point
    x_P: np.ndarray
    mean_P: np.ndarray
    error_P: np.ndarray | None
    joined: bool = True  # whether a line joins the points
    also: tuple[str, ...] = ()  # other settings in which the points differ


def enough(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """A few of `names` that tell the settings apart: a legend has no room for more."""
    kept: list[str] = []
    for name in names:
        if different(settings, [*kept, name]) > different(settings, kept):
            kept.append(name)
    return kept


def different(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int:
    """The number of different settings, compared by `names` alone."""
    return len({tuple(str(one.get(name)) for name in names) for one in settings})
