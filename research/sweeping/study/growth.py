"""Add values to a grid: Optuna fixes a list of choices, so the trials move to a new study.

They keep their numbers, and thus their runs. The old study stays unchanged.
"""

import copy

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from research.config.space import Point
from research.sweeping.record import Record
from research.sweeping.study.suggest import grid_parameters, suggest


def newest_study(record: Record, storage: BaseStorage) -> optuna.Study:
    """The study, or the previous one if no worker has created it yet. Raises KeyError if there is none."""
    for name in (record.study, *reversed(record.studies)):
        try:
            return optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            continue
    raise KeyError(record.study)


def carry_over(study: optuna.Study, record: Record, storage: BaseStorage) -> None:
    """Copies started trials from the previous study; a repeated call resumes an interrupted copy.

    The caller holds `study_lock`, and no trial runs: see research/sweeping/record.py.
    """
    try:
        old = newest_study(record._replace(study=record.studies[-1], studies=record.studies[:-1]), storage)
    except KeyError:
        return
    trials = old.get_trials(deepcopy=False)
    begun = max((trial.number + 1 for trial in trials if trial.state != TrialState.WAITING), default=0)
    places = _places(record)
    for trial in trials[len(study.get_trials(deepcopy=False)) : begun]:
        study.add_trial(_moved(trial, places))


def _places(record: Record) -> list[tuple[Point, FixedTrial]]:
    """Each point of the grid, with a trial that has its parameters and their distributions."""
    found = []
    for parameters in grid_parameters(record.sweep.space):
        fixed = FixedTrial(parameters)
        found.append((suggest(fixed, record.sweep.space), fixed))  # pyright: ignore[reportArgumentType]
    return found


def _moved(trial: FrozenTrial, places: list[tuple[Point, FixedTrial]]) -> FrozenTrial:
    """A copy of `trial` with the index of its point in the new grid."""
    known = trial.user_attrs.get("settings") or trial.system_attrs.get("fixed_params", {})
    at = next(n for n, (point, _) in enumerate(places) if _agree(point, known))
    moved, fixed = copy.deepcopy(trial), places[at][1]
    moved.user_attrs = trial.user_attrs | {"point": at}
    if "settings" in trial.user_attrs:  # otherwise, it has no parameters yet
        moved.params, moved.distributions = dict(fixed.params), dict(fixed.distributions)
    return moved


def _agree(point: Point, known: Point) -> bool:
    return all(known[name] == value for name, value in point.items() if name in known)
