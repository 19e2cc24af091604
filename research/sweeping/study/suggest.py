"""A space as Optuna's parameters: `suggest` turns a trial into a point, `grid_parameters` lists all points.

A range or a list is one parameter with its dotted name; a `zip` is one parameter with all its names. A
`chain` is one parameter that selects a branch; names in branch n end in [n], because the same setting may
have another range in another branch.
"""

import itertools
from typing import Any

from optuna.trial import BaseTrial

from research.config.space import Chain, Point, Points, Product, Range, Space, Zip, names, points

Parameters = dict[str, Any]  # Optuna's names and values


def suggest(trial: BaseTrial, space: Space, branch: str = "") -> Point:
    """The point of `space` that the study's sampler chooses for `trial`: {setting: value}."""
    match space:
        case Points(name, (value,)):
            return {name: value}
        case Points(name, values):
            return {name: trial.suggest_categorical(name + branch, values)}
        case Range(name, low, high, log, int(step)):
            return {name: trial.suggest_int(name + branch, int(low), int(high), log=log, step=step)}
        case Range(name, low, high, log):
            return {name: trial.suggest_float(name + branch, low, high, log=log)}
        case Product(parts):
            return {name: value for part in parts for name, value in suggest(trial, part, branch).items()}
        case Zip():
            tied = points(space)
            texts = [_tied(point) for point in tied]
            return tied[texts.index(trial.suggest_categorical(_label(space, branch), texts))]
        case Chain(parts):
            chosen = trial.suggest_categorical(_label(space, branch), range(len(parts)))
            return suggest(trial, parts[chosen], f"{branch}[{chosen}]")


def grid_parameters(space: Space, branch: str = "") -> list[Parameters]:
    """The parameters of all points, in order, of a space without continuous ranges."""
    match space:
        case Points(_, (_,)):
            return [{}]
        case Points(name, values):
            return [{name + branch: value} for value in values]
        case Range(name):
            return [{name + branch: point[name]} for point in points(space)]
        case Product(parts):
            taken = itertools.product(*(grid_parameters(part, branch) for part in parts))
            return [{name: value for one in some for name, value in one.items()} for some in taken]
        case Zip():
            return [{_label(space, branch): _tied(point)} for point in points(space)]
        case Chain(parts):
            return [
                {_label(space, branch): number} | some
                for number, part in enumerate(parts)
                for some in grid_parameters(part, f"{branch}[{number}]")
            ]


def point_of(trial: BaseTrial) -> int:
    """The number of a trial's point; with one seed, the trial's number."""
    return trial.user_attrs.get("point", trial.number)


def seed_of(trial: BaseTrial) -> int:
    """0 for the base's `run.seed`, 1 for the next number …"""
    return trial.user_attrs.get("seed", 0)


def _label(space: Zip | Chain, branch: str) -> str:
    return (" & " if isinstance(space, Zip) else " | ").join(names(space)) + branch


def _tied(point: Point) -> str:
    return " & ".join(map(str, point.values()))
