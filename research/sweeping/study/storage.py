"""The study: Optuna's record of all trials, in a database or a journal, with its sampler and pruner."""

import itertools
import warnings
import weakref
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage

from research.config import Sweep
from research.errors import EnvironmentFault
from research.io.locks import exclusive
from research.sweeping.directory import storage_lock
from research.sweeping.record import Record
from research.sweeping.study.database import first_line, hide_password, open_database
from research.sweeping.study.files import Journal, may_write, open_sqlite
from research.sweeping.study.growth import carry_over, newest_study
from research.sweeping.study.suggest import grid_parameters, point_of, seed_of

optuna.logging.set_verbosity(optuna.logging.ERROR)

REDUCTION = 3  # one in this many of the trials at a rung is promoted


def open_study(record: Record, directory: Path) -> optuna.Study:
    """Opens or creates the sweep's study, with every point of a grid enqueued for every seed.

    The first seed of all points comes before the second. The caller must hold `study_lock`, since two callers
    would create the study twice.
    """
    sweep, storage = record.sweep, storage_of(record.storage, directory)
    study = optuna.create_study(
        study_name=record.study, storage=storage, direction=sweep.chosen_direction, load_if_exists=True
    )
    if record.studies:
        carry_over(study, record, storage)
    trials = study.get_trials(deepcopy=False)
    study.sampler, study.pruner = sampler(sweep, len(trials)), pruner(sweep)
    if sweep.seeds > 1:  # all trials are enqueued; the sampler works on the study of points
        study.sampler = optuna.samplers.RandomSampler()
    if sweep.chosen_sampler == "grid":  # all of a new study, else those that a killed process did not enqueue
        known = {(point_of(trial), seed_of(trial)) for trial in trials}
        for seed, (point, parameters) in itertools.product(
            range(sweep.seeds), enumerate(grid_parameters(sweep.space)[: sweep.points])
        ):
            if (point, seed) not in known:
                study.enqueue_trial(parameters, user_attrs={"point": point, "seed": seed})
    return study


def open_points(record: Record, directory: Path, known: int) -> optuna.Study:
    """Opens the sampler's study of a sweep with several seeds: one trial per point.

    `known` points are already in the study of trials. The caller must hold `study_lock`.
    """
    return optuna.create_study(
        study_name=f"{record.study}-points",
        storage=storage_of(record.storage, directory),
        direction=record.sweep.chosen_direction,
        sampler=sampler(record.sweep, known),
        load_if_exists=True,
    )


def load_study(record: Record, directory: Path) -> optuna.Study:
    """Loads the study for reading. Raises KeyError if it does not exist yet."""
    return newest_study(record, storage_of(record.storage, directory))


@lru_cache(maxsize=8)
def storage_of(name: str, directory: Path) -> BaseStorage:
    """Opens a storage, once per process. Raises EnvironmentFault if it cannot be reached."""
    kind, _, path = name.partition(":")
    try:
        if kind == "journal":
            return JournalStorage(Journal(Path(path) if path else directory / "study.journal"))
        # Creating its tables twice at once fails.
        with exclusive(storage_lock(directory)) if may_write(directory) else nullcontext():
            storage = open_sqlite(name, directory) if name.startswith("sqlite") else open_database(name)
        weakref.finalize(storage, storage.engine.dispose)  # Optuna leaves its connections open
        return storage
    except Exception as error:  # of SQLAlchemy, of a driver, or the lack of one
        reason = first_line((isinstance(error, StorageInternalError) and error.__cause__) or error)
        shown = hide_password(name)
        raise EnvironmentFault(f"--storage {shown}: cannot be opened: {reason}") from error


def sampler(sweep: Sweep, trials: int) -> optuna.samplers.BaseSampler:
    """The sampler of the next point, seeded by the number of `trials` so far.

    So no two workers draw the same numbers, and a single worker's sweep is reproducible across kills.
    """
    seed = sweep.seed * 1_000_003 + trials
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        match sweep.chosen_sampler:
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed)
            case "qmc":  # one sequence; each trial takes its next point
                return optuna.samplers.QMCSampler(seed=sweep.seed, scramble=True)
            case _:  # of a grid, all points are enqueued
                return optuna.samplers.RandomSampler(seed=seed)


def pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    """The rule that stops trials early, in steps; the first rung is the first evaluation."""
    first, last = sweep.base.run.evaluate_every, sweep.base.run.steps
    with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
        match sweep.pruner:
            case "median" if sweep.seeds > 1:  # the first seeds alone report
                return optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=first, n_min_trials=5)
            case "median":
                return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=first)
            case "asha":
                return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=REDUCTION)
            case "hyperband":
                return optuna.pruners.HyperbandPruner(
                    min_resource=first, max_resource=last, reduction_factor=REDUCTION
                )
            case _:
                return optuna.pruners.NopPruner()
