"""Trials that a worker trains together: each is its own, whatever becomes of others or of the worker."""

import itertools
import json
import multiprocessing
import os
import random
import socket
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from research.config import Sweep, space
from research.config.settings import override
from research.errors import UsageError
from research.runs.record import experiment_of
from research.sweeping import worker
from research.sweeping.record import open_sweep, read
from research.sweeping.worker import work
from research.training.loop import running, train
from tests.sweeping.pretended import (
    EVERY,
    FACTS,
    Killed,
    declared,
    drained,
    loss,
    steps,
    taking_turns,
    trials,
    turns,
)
from tests.training.test_hyperparameters import declared as experiment_of_many_numbers
from tests.training.tiny import timeless

RATES = (0.3, 0.1, 0.03, 0.01, 0.003)


@pytest.mark.usefixtures("nothing_to_free")
@pytest.mark.parametrize("pruner", ["none", "asha"])
def test_killed_anywhere_no_trial_is_run_twice_and_none_is_lost(tmp_path, monkeypatch, pruner):
    chance = random.Random(3)
    monkeypatch.setattr("research.sweeping.worker.together", taking_turns(chance))
    sweep = declared(tmp_path, space.grid("optimizer.rate.peak", *RATES), pruner=pruner, together=3)
    open_sweep(tmp_path / "sweep", sweep, None)
    at_once = set()

    def interfere(experiment, step):
        at_once.add(sum(trial.state == TrialState.RUNNING for trial in trials(tmp_path / "sweep")))
        if chance.random() < 0.1:
            raise Killed

    deaths = 0
    for _ in range(100):
        try:
            work(tmp_path / "sweep", FACTS, lambda line: None, turns(interfere))
            break
        except Killed:
            deaths += 1
    known = trials(tmp_path / "sweep")
    assert deaths and max(at_once) == 3
    assert [trial.params["optimizer.rate.peak"] for trial in known] == list(RATES)
    ends = {TrialState.COMPLETE} if pruner == "none" else {TrialState.COMPLETE, TrialState.PRUNED}
    assert {trial.state for trial in known} == ends
    for trial in known:
        made = steps(tmp_path / "sweep", trial.number)
        assert set(made) == set(range(1, trial.last_step + 1))
        for first, later in itertools.pairwise(made):  # it goes on from its last checkpoint
            assert later == first + 1 or (later - 1 == first - first % EVERY)
        base = override(sweep.base, {"optimizer.rate.peak": trial.params["optimizer.rate.peak"]})
        assert trial.value == loss(base, trial.last_step)


def _die_of_the_highest_rate(experiment, step):
    if step == 3 and experiment.optimizer.rate.peak == max(RATES):
        os._exit(9)


def _work(directory):
    worker._free_memory, worker.together = lambda: None, taking_turns(random.Random(1))
    worker.alone = drained
    here = FACTS | {"host": socket.gethostname()}
    worker.work(directory, here, lambda line: None, turns(_die_of_the_highest_rate))


@pytest.mark.slow
def test_of_trials_whose_worker_dies_only_the_one_that_killed_it_is_blamed(tmp_path):
    sweep = declared(tmp_path, space.grid("optimizer.rate.peak", *reversed(RATES)), together=5)
    open_sweep(tmp_path / "sweep", sweep, None)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for _ in range(20):
        process = context.Process(target=_work, args=(tmp_path / "sweep",))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
    *others, killer = trials(tmp_path / "sweep")
    assert {trial.state for trial in others} == {TrialState.COMPLETE}
    assert killer.state == TrialState.FAIL and "workers died while training it" in killer.user_attrs["reason"]


@pytest.mark.usefixtures("nothing_to_free")
def test_an_interrupt_stops_all_and_begins_none(tmp_path, monkeypatch):
    monkeypatch.setattr("research.sweeping.worker.together", taking_turns(random.Random(0)))
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=8, together=2), None)

    def stopped(experiment, directory, report, should_stop, outer):
        result = yield from turns()(experiment, directory, report, should_stop)
        outer.stop.signal = 2
        return result._replace(signal=2)

    assert work(tmp_path / "sweep", FACTS, lambda line: None, stopped) == 2
    states = [trial.state for trial in trials(tmp_path / "sweep")]
    assert states == [TrialState.COMPLETE] * 2


def test_another_number_of_lanes_is_the_same_sweep(tmp_path):
    sweep = declared(tmp_path, trials=3)
    open_sweep(tmp_path / "sweep", sweep, None)
    assert open_sweep(tmp_path / "sweep", replace(sweep, together=4), None).sweep.together == 4
    with pytest.raises(UsageError, match=r"sweep\.together=0: expected more than 0"):
        replace(sweep, together=0)


@pytest.mark.slow
def test_trials_of_one_program_are_runs_of_their_own(tmp_path):
    """Their rows are those of the same declarations alone, to rounding; one diverges, and fails alone."""
    base = experiment_of_many_numbers(tmp_path, **{"run.steps": 6, "optimizer.clip": 1e9})
    swept = space.product(space.grid("optimizer.rate.peak", 1e-3, 1e30, 2e-3), space.grid("run.seed", 0, 1))
    directory = tmp_path / "sweep"
    open_sweep(directory, Sweep(name="lanes", base=base, space=swept, together=3), None)
    assert work(directory, FACTS, lambda line: None, running) is None
    known = trials(directory)
    for trial in known:
        run = directory / "trials" / f"{trial.number:04d}"
        if trial.params["optimizer.rate.peak"] == 1e30:
            assert trial.state == TrialState.FAIL and "not finite" in trial.user_attrs["reason"]
            continue
        alone = tmp_path / "alone" / str(trial.number)
        train(experiment_of(run), alone, lambda line: None)
        for one, other in zip(timeless(run), timeless(alone), strict=True):
            assert one["step"] == other["step"]
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        log = (directory / "logs" / f"{trial.number:04d}.log").read_text()
        assert log.count("step 6/6  train") == 1
        record = json.loads((run / "experiment.json").read_text())
        assert record["experiment"]["optimizer"]["rate"]["peak"] == trial.params["optimizer.rate.peak"]
    assert len(known) == 6 and read(directory).sweep.together == 3
