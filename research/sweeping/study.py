"""The study: Optuna's record of all trials, in a database or a journal, and what chooses and prunes them."""

import sqlite3
import warnings
import weakref
from functools import lru_cache, partial
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from research.config import Sweep
from research.errors import EnvironmentFault
from research.sweeping.record import Record
from research.sweeping.suggest import every

optuna.logging.set_verbosity(optuna.logging.ERROR)

REDUCTION = 3  # of the trials that reach a rung, one in so many goes on to the next
WAIT = 60  # seconds for a database that another worker is writing


def open_study(record: Record, directory: Path) -> optuna.Study:
    """The sweep's study, made where it is not there; with points enqueued where they are to be all visited.

    Not for two callers at once while it is being made: `claim.exclusive` sees to that.
    """
    sweep, storage = record.sweep, storage_of(record.storage, directory)
    study = optuna.create_study(
        study_name=record.study, storage=storage, direction=sweep.direction, load_if_exists=True
    )
    trials = study.get_trials(deepcopy=False)
    study.sampler, study.pruner = sampler(sweep, len(trials)), pruner(sweep)
    if sweep.chosen_sampler == "grid":
        for number, parameters in enumerate(every(sweep.space)[: sweep.budget]):
            if number >= len(trials):  # all, or what was left when the one who enqueued them was killed
                study.enqueue_trial(parameters, user_attrs={"point": number})
    return study


def load_study(record: Record, directory: Path) -> optuna.Study:
    """The study as it is, to be read."""
    return optuna.load_study(study_name=record.study, storage=storage_of(record.storage, directory))


@lru_cache(maxsize=8)
def storage_of(name: str, directory: Path) -> BaseStorage:
    """Opened once by a process. Raises EnvironmentFault where it cannot be reached."""
    kind, _, path = name.partition(":")
    try:
        if kind == "journal":
            return JournalStorage(JournalFileBackend(path or str(directory / "study.journal")))
        if name == "sqlite":
            _prepare(path := (directory / "study.db").absolute())
            # Not by an URL, in which ? and % mean something, and which Optuna takes for a format too.
            connect = partial(sqlite3.connect, path, timeout=WAIT, check_same_thread=False)
            storage = RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})
        elif name.startswith("sqlite"):
            storage = RDBStorage(name, engine_kwargs={"connect_args": {"timeout": WAIT}})
        else:
            storage = RDBStorage(name, engine_kwargs={"pool_pre_ping": True})
        weakref.finalize(storage, storage.engine.dispose)  # Optuna leaves its connections open
        return storage
    except Exception as error:  # of SQLAlchemy, of a driver, or the lack of one
        reason = " ".join(str(error).split("\n")[0].split())
        raise EnvironmentFault(f"--storage {name}: cannot be opened: {reason}") from error


def _prepare(path: Path) -> None:
    """With a write-ahead log, readers do not keep writers waiting. The database remembers."""
    connection = sqlite3.connect(path, timeout=WAIT)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def sampler(sweep: Sweep, trials: int) -> optuna.samplers.BaseSampler:
    """What chooses the next point after so many `trials`, whose number is its seed.

    So no two workers draw the same numbers, and a sweep that one worker does is the same when it is killed.
    """
    seed = sweep.seed * 1_000_003 + trials
    with _experimental():
        match sweep.chosen_sampler:
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed)
            case "qmc":  # one sequence, from which each takes the next
                return optuna.samplers.QMCSampler(seed=sweep.seed, scramble=True)
            case _:  # of a grid all points are enqueued
                return optuna.samplers.RandomSampler(seed=seed)


def pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    """What stops trials, by their steps; the first rung is the first evaluation."""
    first, last = sweep.base.run.evaluate_every, sweep.base.run.steps
    with _experimental():
        match sweep.pruner:
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


class _experimental(warnings.catch_warnings):
    """Optuna calls experimental what it has shipped for years; a sweep's record says which version it was."""

    def __enter__(self):
        entered = super().__enter__()
        warnings.simplefilter("ignore", ExperimentalWarning)
        return entered
