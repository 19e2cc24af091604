"""Add points to a grid: Optuna fixes a list of choices, so the trials move to a new study.

They keep their numbers, and thus their runs. The old study stays unchanged.
"""

import copy

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from research.config.space import Space, names, points
from research.sweeping.record import Record
from research.sweeping.study.suggest import Parameters, grid_parameters, point_of, suggest


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
    places, parameters = _places(trials[:begun], record.sweep.space), grid_parameters(record.sweep.space)
    for trial in trials[len(study.get_trials(deepcopy=False)) : begun]:
        place = places[point_of(trial)]
        study.add_trial(_moved(trial, place, parameters[place], record.sweep.space))


def _places(trials: list[FrozenTrial], grid: Space) -> dict[int, int]:
    """The index in the new grid of each point that has trials; a point that has not begun gets a free one."""
    new, known = points(grid), names(grid)
    places = {
        point_of(trial): new.index({name: value for name, value in settings.items() if name in known})
        for trial in trials
        if (settings := trial.user_attrs.get("settings"))
    }
    free = iter(sorted(set(range(len(new))) - set(places.values())))
    for trial in trials:
        if point_of(trial) not in places:
            places[point_of(trial)] = next(free)
    return places


def _moved(trial: FrozenTrial, place: int, parameters: Parameters, grid: Space) -> FrozenTrial:
    """A copy of `trial` at a place of the new grid."""
    moved, fixed = copy.deepcopy(trial), FixedTrial(parameters)
    suggest(fixed, grid)
    moved.user_attrs = trial.user_attrs | {"point": place}
    moved.system_attrs = trial.system_attrs | {"fixed_params": parameters}
    if "settings" in trial.user_attrs:  # otherwise, it has no parameters yet
        moved.params, moved.distributions = fixed.params, fixed.distributions
    return moved
