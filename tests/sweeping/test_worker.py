"""Trials whose workers die, are stopped, or run side by side."""

import gc
import json
import random
import signal
import subprocess
import sys
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from research.config import space
from research.config.settings import override
from research.errors import EnvironmentFault, UsageError
from research.sweeping import claim as claims
from research.sweeping.pruning import pruning
from research.sweeping.record import open_sweep, read
from research.sweeping.status import sweep_status
from research.sweeping.study.storage import load_study, storage_of
from research.sweeping.worker import work
from tests.mostly_slow import mostly_slow
from tests.sweeping.pretended import FACTS, Killed, declared, run, steps, training, trials

pytestmark = pytest.mark.usefixtures("nothing_to_free")


@pytest.mark.parametrize("storage", mostly_slow(["sqlite", "journal"]))
@pytest.mark.parametrize("pruner", mostly_slow(["asha", "none"]))
def test_killed_anywhere_a_sweep_ends_like_an_undisturbed_one(tmp_path, storage, pruner):
    """Same trials, same parameters, same values, same pruned; no step before a checkpoint made twice."""
    sweep, chance = declared(tmp_path, pruner=pruner), random.Random(0)
    for name in ("undisturbed", "killed"):
        open_sweep(tmp_path / name, sweep, storage)
    assert run(tmp_path / "undisturbed", training())

    def interfere(experiment, step):
        if chance.random() < 0.15:
            raise Killed

    deaths = 0
    while not run(tmp_path / "killed", training(interfere)):
        deaths += 1
    assert deaths
    expected, known = trials(tmp_path / "undisturbed"), trials(tmp_path / "killed")
    for trial, other in zip(expected, known, strict=True):
        assert (trial.number, trial.state, trial.params) == (other.number, other.state, other.params)
        assert trial.value == other.value and trial.intermediate_values == other.intermediate_values
        last = other.last_step
        assert set(steps(tmp_path / "killed", other.number)) == set(range(1, last + 1))
    assert {trial.state for trial in known} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert (pruner == "none") == all(trial.state == TrialState.COMPLETE for trial in known)
    stands = sweep_status(tmp_path / "killed")
    values = {trial.number: trial.value for trial in known if trial.state == TrialState.COMPLETE}
    assert stands.over and stands.best == min(values, key=values.get)


def test_a_trial_that_ends_while_another_worker_looks_is_left_alone(tmp_path, monkeypatch):
    """Between the list of trials, which says it runs, and the lock, which its worker has let go of."""
    directory = tmp_path / "sweep"
    open_sweep(directory, declared(tmp_path), None)
    record = read(directory)
    running, acquire = claims.claim_trial(record, directory, FACTS), claims.acquire

    def acquire_late(path, facts):
        monkeypatch.setattr(claims, "acquire", acquire)
        load_study(record, directory).tell(running.number, 1.0)
        running.lock.release()
        return acquire(path, facts)

    monkeypatch.setattr(claims, "acquire", acquire_late)
    other = claims.claim_trial(record, directory, FACTS)
    assert (running.number, other.number, other.resumed) == (0, 1, False)
    other.lock.release()
    assert trials(directory)[0].state == TrialState.COMPLETE


def test_a_grid_visits_each_point_once_also_when_killed(tmp_path):
    swept = space.product(
        space.grid("optimizer.rate.peak", 0.1, 0.01, 0.001), space.grid("optimizer.name", "adamw", "lion")
    )
    sweep, chance = declared(tmp_path, swept), random.Random(1)
    open_sweep(tmp_path / "sweep", sweep, None)

    def interfere(experiment, step):
        if chance.random() < 0.15:
            raise Killed

    while not run(tmp_path / "sweep", training(interfere)):
        pass
    known = trials(tmp_path / "sweep")
    assert [trial.user_attrs["settings"] for trial in known] == space.points(swept)
    assert all(trial.state == TrialState.COMPLETE for trial in known)
    assert run(tmp_path / "sweep", training(lambda *_: pytest.fail("nothing is left to do")))


def test_a_decision_to_prune_outlives_its_worker(tmp_path, monkeypatch):
    """Decided and killed before the run was saved: it goes on to the step decided on, and no further."""
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=1, pruner="median"), None)
    monkeypatch.setattr(
        "optuna.trial.Trial.should_prune", lambda trial: trial._cached_frozen_trial.last_step == 4
    )
    train = training()

    def dies_before_saving(experiment, directory, report, should_stop):
        def decides(row):
            if should_stop(row):
                raise Killed
            return False

        return train(experiment, directory, report, decides)

    assert not run(tmp_path / "sweep", dies_before_saving)
    monkeypatch.setattr("optuna.trial.Trial.should_prune", lambda trial: False)
    assert run(tmp_path / "sweep", train)
    (trial,) = trials(tmp_path / "sweep")
    assert trial.state == TrialState.PRUNED and trial.last_step == 4
    assert steps(tmp_path / "sweep", 0) == [1, 2, 3, 4, 3, 4]


def test_a_trial_that_reaches_its_target_is_finished_and_not_pruned(tmp_path, monkeypatch):
    """The pruner prunes all trials at step 6, where the better one meets its target."""
    monkeypatch.setattr(
        "optuna.trial.Trial.should_prune", lambda trial: trial._cached_frozen_trial.last_step > 5
    )
    rates = space.grid("optimizer.rate.peak", 0.1, 0.01)
    sweep = declared(tmp_path, rates, pruner="median")
    sweep = replace(sweep, base=override(sweep.base, {"run.stop_at": "loss<0.15"}))
    open_sweep(tmp_path / "sweep", sweep, "journal")
    assert run(tmp_path / "sweep", training())
    reached, pruned = trials(tmp_path / "sweep")
    assert (reached.state, reached.last_step) == (TrialState.COMPLETE, 6) and reached.value < 0.15
    assert (pruned.state, pruned.last_step) == (TrialState.PRUNED, 6)


@pytest.mark.parametrize("before", [0, 4], ids=["at once", "killed before it"])
def test_a_trial_out_of_patience_is_finished_and_not_pruned(tmp_path, monkeypatch, before):
    """The pruner prunes all trials from step 6 on; this one has had two evaluations without a better one."""
    monkeypatch.setattr(
        "optuna.trial.Trial.should_prune", lambda trial: trial._cached_frozen_trial.last_step > 5
    )
    sweep = declared(tmp_path, pruner="median")
    patient = override(sweep.base, {"run.stop_at": "loss patience 2"}).run
    losses = {0: 5.0, 2: 3.0, 4: 2.0, 5: 2.5, 6: 3.0}
    rows = [{"step": step, "split": "validation", "loss": loss} for step, loss in losses.items()]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:before]))
    for asked, pruned in ((patient, False), (replace(patient, stop_at=None), True)):
        trial = optuna.create_study().ask()
        prune = pruning(sweep, trial, asked, tmp_path)
        assert [prune(row) for row in rows[before:]][-1] == pruned == ("pruned" in trial.user_attrs)


def test_a_signal_in_the_last_step_stops_the_worker_after_the_trial(tmp_path):
    """Such a signal comes too late for the run, and not for what would come next."""
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=4), None)
    train = training()

    def asked_at_the_end(*arguments, **more):
        result = yield from train(*arguments, **more)
        return result._replace(signal=signal.SIGTERM)

    assert work(tmp_path / "sweep", FACTS, print, asked_at_the_end) == signal.SIGTERM
    (trial,) = trials(tmp_path / "sweep")
    assert trial.state == TrialState.COMPLETE
    assert run(tmp_path / "sweep", train) and len(trials(tmp_path / "sweep")) == 4


def test_the_first_of_a_budget_of_hours_ends_it(tmp_path):
    open_sweep(tmp_path / "sweep", declared(tmp_path, hours=1e-9), None)
    assert run(tmp_path / "sweep", training())
    stands = sweep_status(tmp_path / "sweep")
    assert stands.counts["finished"] == 1 and stands.counts["queued"] == 7
    assert stands.hours_used_up and stands.over  # the same command would begin nothing
    open_sweep(tmp_path / "sweep", declared(tmp_path, hours=1), None)
    stands = sweep_status(tmp_path / "sweep")
    assert not stands.hours_used_up and not stands.over


def test_a_budget_below_what_has_begun_is_met(tmp_path):
    rates = space.grid("optimizer.rate.peak", 0.3, 0.1, 0.01)
    open_sweep(tmp_path / "sweep", declared(tmp_path, rates, seeds=3), None)
    assert run(tmp_path / "sweep", training())
    open_sweep(tmp_path / "sweep", declared(tmp_path, rates, seeds=3, trials=2), None)
    stands = sweep_status(tmp_path / "sweep")
    assert stands.over and stands.total == 9 and sum(stands.counts.values()) == 9


@pytest.mark.slow
def test_several_workers_at_once_share_the_trials(tmp_path):
    """Real processes, on one database: every trial once, and no more of them than there are to be."""
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=12), None)
    code = (
        "from pathlib import Path; from tests.sweeping.pretended import training;"
        "from research.sweeping import worker; worker._forget = lambda: None;"
        f"worker.work(Path({str(tmp_path / 'sweep')!r}), {FACTS}, print, training())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    known = trials(tmp_path / "sweep")
    assert [trial.state for trial in known] == [TrialState.COMPLETE] * 12
    assert all(steps(tmp_path / "sweep", trial.number) == list(range(1, 10)) for trial in known)
    assert sum(text.count("finished") for text in outputs) == 12


def test_another_sweep_does_not_enter_and_a_larger_one_does(tmp_path):
    sweep = declared(tmp_path, trials=2)
    open_sweep(tmp_path / "sweep", sweep, None)
    assert run(tmp_path / "sweep", training())
    with pytest.raises(UsageError, match=r"another sweep: pruner was none, now asha"):
        open_sweep(tmp_path / "sweep", declared(tmp_path, trials=2, pruner="asha"), None)
    with pytest.raises(
        UsageError, match=r"space was optimizer\.rate\.peak=log:0\.0001\.\.1, now model\.depth=1,2"
    ):
        open_sweep(tmp_path / "sweep", declared(tmp_path, space.choice("model.depth", 1, 2), trials=2), None)
    with pytest.raises(UsageError, match="storage was sqlite, now journal"):
        open_sweep(tmp_path / "sweep", sweep, "journal")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="exists and is not a sweep"):
        open_sweep(tmp_path / "thesis", sweep, None)
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=5), None)
    assert run(tmp_path / "sweep", training())
    assert sweep_status(tmp_path / "sweep").counts["finished"] == 5


def test_a_storage_that_is_not_there_is_one_line(tmp_path):
    open_sweep(tmp_path / "sweep", declared(tmp_path), "nonsense://host/db")
    with pytest.raises(EnvironmentFault, match="nonsense"):
        run(tmp_path / "sweep", training())


def test_a_database_that_is_not_used_any_more_is_closed(tmp_path):
    storage = storage_of.__wrapped__("sqlite", tmp_path)
    storage.get_all_studies()
    pool = storage.engine.pool
    assert pool.checkedin()
    del storage
    gc.collect()
    assert not pool.checkedin()
