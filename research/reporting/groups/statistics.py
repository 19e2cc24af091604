"""Means of a few runs, and differences between them: standard errors, Student's t, Holm."""

from collections.abc import Mapping, Sequence
from math import isclose, sqrt
from statistics import fmean, variance
from typing import NamedTuple

LEVEL = 0.95  # of intervals


class Mean(NamedTuple):
    mean: float
    error: float | None  # standard error; None for a single value
    n: int


class Difference(NamedTuple):
    """A mean difference and its interval at `LEVEL`; None if there are too few values for one."""

    mean: float
    low: float | None
    high: float | None
    p: float | None  # two-sided, for a difference of zero
    n: int  # pairs; without pairs, values of both sides
    paired: bool

    @property
    def holds_zero(self) -> bool | None:
        return None if self.low is None or self.high is None else self.low <= 0 <= self.high

    @property
    def certain(self) -> bool:
        """Whether the interval has no width, up to rounding: a t-test assumes that values scatter."""
        return self.low is not None and self.high is not None and isclose(self.low, self.high, rel_tol=1e-9)


def mean(values: Sequence[float]) -> Mean:
    """Mean and standard error. Raises StatisticsError without a value."""
    error = sqrt(variance(values) / len(values)) if len(values) > 1 else None
    return Mean(fmean(values), error, len(values))


def difference(ours: Mapping[tuple, float], others: Mapping[tuple, float]) -> Difference:
    """`ours` minus `others`, paired by keys if every key of one side matches, else by Welch's test.

    Pairs skip values of the larger side that have no partner. If both sides have such values, Welch's
    test uses all values, with Satterthwaite's degrees of freedom.
    """
    keys = [key for key in ours if key in others]
    if len(keys) > 1 and len(keys) == min(len(ours), len(others)):
        pairs = mean([ours[key] - others[key] for key in keys])
        assert pairs.error is not None
        return _with_interval(pairs.mean, pairs.error, pairs.n - 1, pairs.n, paired=True)
    one, other = mean(list(ours.values())), mean(list(others.values()))
    apart, n = one.mean - other.mean, one.n + other.n
    if one.error is None or other.error is None:
        return Difference(apart, None, None, None, n, paired=False)
    error = sqrt(one.error**2 + other.error**2)
    shares = one.error**4 / (one.n - 1) + other.error**4 / (other.n - 1)
    return _with_interval(apart, error, error**4 / shares if shares else 1.0, n, paired=False)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979): those below 0.05 are significant together at that level."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def _with_interval(apart: float, error: float, freedom: float, n: int, paired: bool) -> Difference:
    from scipy.special import (  # imported here, since most tables have one seed and do not need it
        stdtr,
        stdtrit,
    )

    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    certain = 0.0 if apart else 1.0  # without any spread
    p = 2 * float(stdtr(freedom, -abs(apart) / error)) if error else certain
    return Difference(apart, apart - half, apart + half, p, n, paired)
