"""Values that are added to a grid: new trials begin, and those that there were stay as they are."""

import pytest
from optuna.trial import TrialState

from research.config import space
from research.errors import UsageError
from research.io.locks import acquire
from research.reporting.facts import facts
from research.sweeping.directory import trial_lock
from research.sweeping.record import open_sweep, read
from research.sweeping.status import sweep_status
from research.sweeping.study import growth
from research.sweeping.study.storage import load_study
from tests.sweeping.pretended import Killed, declared, run, steps, training, trials

pytestmark = pytest.mark.usefixtures("nothing_to_free")

PEAK = "optimizer.rate.peak"


def grid(rates, decays) -> space.Space:
    return space.product(space.grid(PEAK, *rates), space.grid("optimizer.decay", *decays))


def points(directory) -> list[tuple]:
    settings = [trial.user_attrs["settings"] for trial in trials(directory)]
    return [(one[PEAK], one["optimizer.decay"], one.get("run.seed")) for one in settings]


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
@pytest.mark.parametrize("seeds", [1, 2])
def test_old_trials_stay_and_new_ones_are_added(tmp_path, storage, seeds):
    directory = tmp_path / "sweep"
    open_sweep(directory, declared(tmp_path, grid([0.3], [0.0, 0.1]), seeds=seeds), storage)
    assert run(directory, training())
    before = trials(directory)
    made = [steps(directory, trial.number) for trial in before]
    grown = declared(tmp_path, grid([0.1, 0.3], [0.0, 0.05, 0.1]), seeds=seeds)
    open_sweep(directory, grown, None)
    stands = sweep_status(directory)  # before a worker has begun
    assert stands.counts["finished"] == 2 * seeds and stands.counts["queued"] == 4 * seeds
    assert run(directory, training())
    after = trials(directory)
    assert len(after) == 6 * seeds and {trial.state for trial in after} == {TrialState.COMPLETE}
    assert len(set(points(directory))) == 6 * seeds
    for old, new in zip(before, after, strict=False):
        assert (old.number, old.value, old.user_attrs["settings"]) == (
            new.number,
            new.value,
            new.user_attrs["settings"],
        )
    assert [steps(directory, trial.number) for trial in before] == made
    stands = sweep_status(directory)
    assert stands.over and stands.trials[stands.best or 0].settings[PEAK] == 0.1
    by_point = {}
    for trial in after:
        by_point.setdefault(trial.user_attrs["point"], set()).add(points(directory)[trial.number][:2])
    assert len(by_point) == 6 and all(len(different) == 1 for different in by_point.values())
    assert len(facts([directory])["sweep"]["parameters"]) == 2
    open_sweep(directory, grown, None)  # the same command continues it
    assert len(read(directory).studies) == 1


@pytest.mark.parametrize("make", [space.zip, lambda one, other: space.chain(space.zip(one, other), one)])
def test_points_of_a_zip_or_a_chain_are_added(tmp_path, make):
    """In front, so that all places move; a worker died in trial 1, another before trial 2 had its point."""

    def spaces(rates, decays):
        return make(space.grid(PEAK, *rates), space.grid("optimizer.decay", *decays))

    few = spaces([0.3, 0.1, 0.01], [0.0, 0.1, 0.2])
    many = spaces([0.03, 0.3, 0.1, 0.01], [0.05, 0.0, 0.1, 0.2])
    directory = tmp_path / "sweep"
    open_sweep(directory, declared(tmp_path, few), "journal")

    def dies(experiment, step):
        if experiment.optimizer.rate.peak == 0.1 and step == 5:
            raise Killed

    assert not run(directory, training(dies))
    load_study(read(directory), directory).ask()
    before = trials(directory)
    open_sweep(directory, declared(tmp_path, many), None)
    assert run(directory, training())
    settings = [trial.user_attrs["settings"] for trial in trials(directory)]
    expected = space.points(many)
    assert len(settings) == len(expected) and all(settings.count(point) == 1 for point in expected)
    assert settings[:2] == [trial.user_attrs["settings"] for trial in before[:2]]
    assert steps(directory, 0) == steps(directory, 1) == list(range(1, 10))
    with pytest.raises(UsageError, match="holds another sweep: space was"):
        open_sweep(directory, declared(tmp_path, few), None)


def test_killed_at_any_time_it_ends_as_if_undisturbed(tmp_path, monkeypatch):
    """While a trial trains, which is resumed in the grown grid, and while trials are copied."""
    directory = tmp_path / "sweep"
    open_sweep(directory, declared(tmp_path, grid([0.3, 0.03], [0.0])), "journal")

    def dies(experiment, step):
        if experiment.optimizer.rate.peak == 0.03 and step == 5:
            raise Killed

    assert not run(directory, training(dies))
    open_sweep(directory, declared(tmp_path, grid([0.3, 0.1, 0.03], [0.0])), None)
    open_sweep(directory, declared(tmp_path, grid([0.3, 0.1, 0.03, 0.01], [0.0])), None)  # twice, unused
    moved, copied = growth._moved, []

    def dies_copying(*arguments):
        copied.append(arguments)
        if len(copied) == 2:
            raise Killed
        return moved(*arguments)

    monkeypatch.setattr(growth, "_moved", dies_copying)
    with pytest.raises(Killed):
        open_and_claim(directory)
    assert run(directory, training())
    assert sorted(points(directory)) == [(rate, 0.0, None) for rate in (0.01, 0.03, 0.1, 0.3)]
    assert steps(directory, 1) == [1, 2, 3, 4, 5, 6, 7, 8, 9] and sweep_status(directory).over


def open_and_claim(directory):
    from research.sweeping.claim import claim_trial

    claim_trial(read(directory), directory, {"devices": [], "host": "here", "job": None})


def test_values_are_not_added_while_a_trial_runs_nor_taken_away(tmp_path):
    directory = tmp_path / "sweep"
    small, large = (declared(tmp_path, grid(rates, [0.0])) for rates in ([0.3], [0.3, 0.1]))
    open_sweep(directory, small, None)
    lock = acquire(trial_lock(directory, 0))
    with pytest.raises(UsageError, match=r"trains a trial; expected lineage stop"):
        open_sweep(directory, large, None)
    lock.release()
    open_sweep(directory, large, None)
    other = space.product(space.grid(PEAK, 0.3, 0.1), space.grid("optimizer.clip", 1.0))
    for sweep in (small, declared(tmp_path, other), declared(tmp_path, trials=3)):
        with pytest.raises(UsageError, match="holds another sweep: space was"):
            open_sweep(directory, sweep, None)
