"""Spaces of settings, as an algebra over dotted names. Standard library only.

Axes are points (`grid`, `choice`) or ranges (`uniform`, `log_uniform`, `integer`). A `product` combines its
spaces, a `zip` takes their first points together, then their second points, …, and a `chain` takes one space
after another. Import the module instead of its names, since some are also Python's: space.zip(space.grid(…),
…).
"""

import builtins
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from research.errors import UsageError

Value = bool | int | float | str | None
Point = dict[str, Value]  # {"optimizer.rate.peak": 1e-3, …}


@dataclass(frozen=True)
class Points:
    """Single values; `every`: all of them are visited, else some."""

    name: str
    values: tuple[Value, ...]
    every: bool = False

    def __post_init__(self):
        if not self.values or len(set(self.values)) < len(self.values):
            raise UsageError(f"{self.name}: {listed(self.values)}: expected one or more distinct values")


@dataclass(frozen=True)
class Range:
    """`low` to `high`, both included; for integers, by `step`."""

    name: str
    low: float
    high: float
    log: bool = False
    step: int | None = None

    def __post_init__(self):
        given = f"{self.name}: {self.low}..{self.high}"
        if not self.low < self.high:
            raise UsageError(f"{given}: expected LOW below HIGH")
        if self.log and self.low <= 0:
            raise UsageError(f"{given}: expected LOW and HIGH above 0 on a logarithmic scale")
        if self.step is not None and (self.step < 1 or (self.high - self.low) % self.step):
            raise UsageError(f"{given}:{self.step}: expected a step that leads from LOW to HIGH")
        if self.step is not None and self.log and self.step != 1:
            raise UsageError(f"{given}:{self.step}: expected a step of 1 on a logarithmic scale")


@dataclass(frozen=True)
class Product:
    parts: tuple["Space", ...]

    def __post_init__(self):
        _apart("product", self.parts)


@dataclass(frozen=True)
class Zip:
    parts: tuple["Space", ...]

    def __post_init__(self):
        _apart("zip", self.parts)
        lengths = [len(points(part)) for part in self.parts]
        if len(set(lengths)) != 1:
            raise UsageError(f"zip: expected spaces of equal size, not {listed(lengths)}")


@dataclass(frozen=True)
class Chain:
    parts: tuple["Space", ...]

    def __post_init__(self):
        if not self.parts:
            raise UsageError("chain: expected one space or more")


Axis = Points | Range
Space = Axis | Product | Zip | Chain


def grid(name: str, *values: Value) -> Points:
    """Every one of `values`."""
    return Points(name, values, every=True)


def choice(name: str, *values: Value) -> Points:
    """One of `values`, chosen by the sampler."""
    return Points(name, values)


def uniform(name: str, low: float, high: float) -> Range:
    return Range(name, float(low), float(high))


def log_uniform(name: str, low: float, high: float) -> Range:
    """Uniform in the logarithm."""
    return Range(name, float(low), float(high), log=True)


def integer(name: str, low: int, high: int, step: int = 1, log: bool = False) -> Range:
    return Range(name, low, high, log=log, step=step)


def product(*parts: Space) -> Product:
    return Product(parts)


def zip(*parts: Space) -> Zip:
    return Zip(parts)


def chain(*parts: Space) -> Chain:
    return Chain(parts)


def axes(space: Space) -> Iterator[Axis]:
    """The leaves, in order of declaration."""
    if isinstance(space, Axis):
        yield space
    else:
        for part in space.parts:
            yield from axes(part)


def names(space: Space) -> list[str]:
    """The settings that may be set, each once, in order of declaration."""
    return list(dict.fromkeys(axis.name for axis in axes(space)))


def points(space: Space) -> list[Point]:
    """Every point, in order of declaration; raises UsageError for a range of real numbers."""
    match space:
        case Points(name, values):
            return [{name: value} for value in values]
        case Range(name, low, high, _, step):
            if step is None:
                raise UsageError(f"{name}: {low}..{high}: expected points here: grid, choice or integer")
            return [{name: value} for value in range(int(low), int(high) + 1, step)]
        case Product(parts):
            return [_merged(taken) for taken in itertools.product(*map(points, parts))]
        case Zip(parts):
            return [_merged(taken) for taken in builtins.zip(*map(points, parts), strict=True)]
        case Chain(parts):
            return [point for part in parts for point in points(part)]


def exhaustive(space: Space) -> bool:
    """Whether every declared point is visited."""
    return all(isinstance(axis, Points) and (axis.every or len(axis.values) == 1) for axis in axes(space))


def extends(space: Space, other: Space) -> bool:
    """Whether `space` has all points of `other`."""
    more, fewer = ({frozenset(point.items()) for point in points(one)} for one in (space, other))
    return fewer <= more


def _merged(taken: tuple[Point, ...]) -> Point:
    return {name: value for point in taken for name, value in point.items()}


def _apart(kind: str, parts: tuple[Space, ...]) -> None:
    if not parts:
        raise UsageError(f"{kind}: expected one space or more")
    for one, other in itertools.combinations(parts, 2):
        if twice := set(names(one)) & set(names(other)):
            raise UsageError(f"{kind}: {sorted(twice)[0]}: set in two of its spaces")


def listed(values) -> str:
    return ", ".join(map(str, values)) or "none"
