"""Points with several seeds: one trial per seed, and one value per point for the sampler.

A second study in the same storage has one trial per point. The sampler works on it and gets the mean of a
point's seeds once all have ended. It must not get each value: Optuna's samplers assume independent trials, so
TPE would count a point once per seed and rank it by its luckiest one. A point with a failed seed fails.

A point is pruned only by its first seed, compared with the first seeds of other points; its other seeds are
then skipped. A mean over the seeds that a pruner spared would be too good.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial, TrialState

from research.config import Sweep
from research.sweeping.record import Record
from research.sweeping.study.storage import open_points
from research.sweeping.study.suggest import Parameters, point_of, seed_of, suggest

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

Seeds = dict[int, FrozenTrial]  # of a point: {0: its first seed's trial, …}


def by_point(trials: Sequence[FrozenTrial]) -> dict[int, Seeds]:
    points: dict[int, Seeds] = defaultdict(dict)
    for trial in trials:
        points[point_of(trial)][seed_of(trial)] = trial
    return dict(points)


def enqueue(record: Record, directory: Path, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Enqueues the missing trials of a partly enqueued point, else those of a new point.

    A process may be killed at any time; the next one continues from the existing trials.
    """
    sweep, points = record.sweep, by_point(trials)
    chosen = open_points(record, directory, len(points))
    for number in range(len(chosen.get_trials(deepcopy=False)), len(points)):  # from before there were seeds
        first = points[number][0]
        chosen.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING, params=first.params, distributions=first.distributions
            )
        )
    _tell(chosen, points, sweep)
    incomplete = (number for number, seeds in points.items() if len(seeds) < sweep.seeds)
    if (number := next(incomplete, None)) is not None:
        parameters = _parameters(points[number][0])
    else:
        number = len(points)
        begun = chosen.get_trials(deepcopy=False)[number:]
        trial = optuna.Trial(chosen, begun[0]._trial_id) if begun else chosen.ask()
        suggest(trial, sweep.space)
        parameters = trial.params
    for seed in range(sweep.seeds):
        if seed not in points.get(number, {}):
            study.enqueue_trial(parameters, user_attrs={"point": number, "seed": seed})


def is_left_out(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether the first seed of the trial's point was pruned."""
    first = by_point(trials)[point_of(trial)].get(0)
    return first is not None and first.number != trial.number and first.state == TrialState.PRUNED


def best_point(trials: Sequence[FrozenTrial], sweep: Sweep) -> int | None:
    """The point with the best mean among those with the most finished seeds; None before any has finished."""
    values = {number: _results(seeds) for number, seeds in by_point(trials).items()}
    most = max(map(len, values.values()), default=0)
    means = {number: fmean(some) for number, some in values.items() if most and len(some) == most}
    choose = min if sweep.chosen_direction == "minimize" else max
    return choose(means, key=means.__getitem__) if means else None


def _results(seeds: Seeds) -> list[float]:
    """The values of the finished seeds."""
    return [one.value for one in seeds.values() if one.state == TrialState.COMPLETE and one.value is not None]


def _parameters(trial: FrozenTrial) -> Parameters:
    """The parameters of a running or queued trial."""
    return trial.system_attrs.get("fixed_params") or trial.params


def _tell(chosen: optuna.Study, points: dict[int, Seeds], sweep: Sweep) -> None:
    """Ends the points whose seeds have all ended."""
    for trial in chosen.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        seeds = points.get(trial.number, {})
        if len(seeds) < sweep.seeds or any(one.state not in ENDED for one in seeds.values()):
            continue
        states = {one.state for one in seeds.values()}
        if TrialState.FAIL in states:
            chosen.tell(trial.number, state=TrialState.FAIL)
        elif TrialState.PRUNED in states:
            for step, value in seeds[0].intermediate_values.items():
                chosen._storage.set_trial_intermediate_value(trial._trial_id, step, value)
            chosen.tell(trial.number, state=TrialState.PRUNED)
        else:
            chosen.tell(trial.number, fmean(_results(seeds)))
