"""Two workers, of which one is killed twenty times, on each kind of storage: each trial is run once."""

import itertools
import multiprocessing
import random
import signal
import socket
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from research.sweeping import worker
from research.sweeping.record import open_sweep
from research.sweeping.status import sweep_status
from research.sweeping.study.storage import storage_of
from tests.sweeping.pretended import (
    EVERY,
    FACTS,
    declared,
    drained,
    steps,
    taking_turns,
    trials,
    turns,
)

TRIALS, KILLS = 24, 20


@pytest.fixture(autouse=True)
def forgotten():
    """A test's connections are not kept for the next one."""
    yield
    storage_of.cache_clear()


def _slow_steps(experiment, step):
    time.sleep(0.03)


def _train(directory: Path, chance: random.Random) -> None:
    worker._free_memory, worker.alone = lambda: None, drained
    worker.together = taking_turns(chance)
    worker.ATTEMPTS = KILLS + 1  # on a busy machine many kills meet one trial between two steps
    here = FACTS | {"host": socket.gethostname()}  # a dead one elsewhere counts as alive for a while
    worker.work(directory, here, lambda line: None, turns(_slow_steps))


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("storage", ["sqlite", "journal", "postgresql"])
def test_no_trial_is_run_twice_and_no_row_is_lost(request, tmp_path, storage, lanes):
    """A server goes down twice meanwhile, as in a power cut."""
    server = request.getfixturevalue("postgres") if storage == "postgresql" else None
    directory, chance = tmp_path / "sweep", random.Random(lanes)
    sweep = declared(tmp_path, trials=TRIALS, together=lanes)
    open_sweep(directory, sweep, server.database() if server else storage)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    workers: list = []

    def two_at_work() -> None:
        workers[:] = [one for one in workers if one.is_alive()]
        while len(workers) < 2:
            workers.append(context.Process(target=_train, args=(directory, random.Random(chance.random()))))
            workers[-1].start()

    for kill in range(KILLS):
        two_at_work()
        time.sleep(chance.uniform(0.2, 0.8))
        chance.choice(workers).kill()
        if server and kill in (7, 14):
            server.stop(signal.SIGQUIT)
            server.start()
    while not sweep_status(directory).over:
        two_at_work()
        for one in workers:
            one.join()
    known = trials(directory)
    assert [trial.state for trial in known] == [TrialState.COMPLETE] * TRIALS
    for trial in known:
        made = steps(directory, trial.number)
        assert sorted(set(made)) == list(range(1, 10)) and list(trial.intermediate_values) == [2, 4, 6, 8, 9]
        again = [step for before, step in itertools.pairwise(made) if step != before + 1]
        assert len(again) < len(trial.user_attrs["attempts"])  # it goes on from its last checkpoint
        assert all(step % EVERY == 1 for step in again)
