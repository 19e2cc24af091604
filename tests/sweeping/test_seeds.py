"""Several seeds of each point: each run once, also when killed, and one mean for the sampler."""

import json
import random
from statistics import fmean

import optuna
import pytest
from optuna.trial import TrialState

from research.config import space
from research.errors import EnvironmentFault, UsageError
from research.sweeping.record import open_sweep, read, sweep_from_json, sweep_to_json
from research.sweeping.status import sweep_status
from research.sweeping.study.seeds import by_point
from research.sweeping.study.storage import storage_of
from tests.mostly_slow import mostly_slow
from tests.sweeping import pretended
from tests.sweeping.pretended import Killed, declared, run, steps, training, trials

pytestmark = pytest.mark.usefixtures("nothing_to_free")

RATES = space.grid("optimizer.rate.peak", 0.3, 0.1, 0.01)


@pytest.fixture(autouse=True)
def lucky_seeds(monkeypatch):
    """The loss moves with the seed, by more than the points differ."""
    plain = pretended.loss
    monkeypatch.setattr(
        pretended, "loss", lambda experiment, step: plain(experiment, step) + experiment.run.seed % 3
    )


def points_of(directory) -> list[optuna.trial.FrozenTrial]:
    record = read(directory)
    storage = storage_of(record.storage, directory)
    return optuna.load_study(study_name=f"{record.study}-points", storage=storage).get_trials()


def killed_at_random(chance: float, seed: int = 0):
    draw = random.Random(seed)

    def interfere(experiment, step):
        if draw.random() < chance:
            raise Killed

    return training(interfere)


def until_it_ends(directory, train) -> int:
    deaths = 0
    while not run(directory, train):
        deaths += 1
    return deaths


def test_a_grid_is_run_with_every_seed_once_the_first_ones_first(tmp_path):
    open_sweep(tmp_path / "sweep", declared(tmp_path, RATES, seeds=3), "journal")
    assert until_it_ends(tmp_path / "sweep", killed_at_random(0.15))
    known = trials(tmp_path / "sweep")
    found = [
        (t.user_attrs["settings"]["optimizer.rate.peak"], t.user_attrs["settings"]["run.seed"]) for t in known
    ]
    assert found == [(rate, seed) for seed in range(3) for rate in (0.3, 0.1, 0.01)]
    assert all(trial.state == TrialState.COMPLETE for trial in known)
    status = sweep_status(tmp_path / "sweep")
    assert status.over and status.counts["finished"] == 9
    assert status.trials[status.best].settings == {"optimizer.rate.peak": 0.1, "run.seed": 0}


@pytest.mark.parametrize("sampler", mostly_slow(["tpe", "cmaes", "qmc", "random"]))
def test_killed_anywhere_the_sampler_gets_the_mean_of_each_point_once(tmp_path, sampler):
    """Undisturbed and killed, the same points in the same order with the same values."""
    two = space.product(
        space.log_uniform("optimizer.rate.peak", 1e-4, 1.0), space.uniform("optimizer.decay", 0.0, 0.2)
    )
    sweep = declared(tmp_path, two, seeds=3, trials=4, sampler=sampler)
    for name in ("undisturbed", "killed"):
        open_sweep(tmp_path / name, sweep, "journal")
    assert run(tmp_path / "undisturbed", training())
    assert until_it_ends(tmp_path / "killed", killed_at_random(0.1))
    assert [(t.params, t.value) for t in trials(tmp_path / "killed")] == [
        (t.params, t.value) for t in trials(tmp_path / "undisturbed")
    ]
    for name in ("undisturbed", "killed"):
        known = trials(tmp_path / name)
        assert len(known) == 12 and all(t.state == TrialState.COMPLETE for t in known)
        chosen = points_of(tmp_path / name)
        assert [point.number for point in chosen] == [0, 1, 2, 3]
        assert len({json.dumps(point.params) for point in chosen}) == 4
        for number, seeds in by_point(known).items():
            assert {seed: t.user_attrs["settings"]["run.seed"] for seed, t in seeds.items()} == {
                0: 0,
                1: 1,
                2: 2,
            }
            assert all(t.params == chosen[number].params for t in seeds.values())
            if number < 3:  # the last one is chosen when another is asked for
                assert chosen[number].value == pytest.approx(fmean(t.value for t in seeds.values()))
    assert set(steps(tmp_path / "killed", 11)) == set(range(1, 10))


def test_a_process_killed_while_it_enqueues_leaves_no_seed_out(tmp_path, monkeypatch):
    open_sweep(tmp_path / "sweep", declared(tmp_path, seeds=3, trials=2), "journal")
    enqueue, left = optuna.Study.enqueue_trial, [2]

    def dies(study, *arguments, **named):
        if not left[0]:
            raise Killed
        left[0] -= 1
        enqueue(study, *arguments, **named)

    monkeypatch.setattr(optuna.Study, "enqueue_trial", dies)
    assert not run(tmp_path / "sweep", training())
    monkeypatch.undo()
    monkeypatch.setattr("research.sweeping.worker._free_memory", lambda: None)
    assert run(tmp_path / "sweep", training())
    found = {number: sorted(seeds) for number, seeds in by_point(trials(tmp_path / "sweep")).items()}
    assert found == {0: [0, 1, 2], 1: [0, 1, 2]} and len(points_of(tmp_path / "sweep")) == 2


@pytest.mark.parametrize("swept", [RATES, None])
def test_more_seeds_are_added_to_a_sweep_of_one_and_fewer_are_refused(tmp_path, swept):
    settings = {} if swept else {"trials": 3}
    open_sweep(tmp_path / "sweep", declared(tmp_path, swept, **settings), "journal")
    assert run(tmp_path / "sweep", training())
    before = [(t.params, t.value) for t in trials(tmp_path / "sweep")]
    open_sweep(tmp_path / "sweep", declared(tmp_path, swept, seeds=2, **settings), "journal")
    assert until_it_ends(tmp_path / "sweep", killed_at_random(0.1)) is not None
    known = trials(tmp_path / "sweep")
    assert [(t.params, t.value) for t in known[:3]] == before and len(known) == 6
    assert all(sorted(seeds) == [0, 1] for seeds in by_point(known).values())
    for seeds in by_point(known).values():
        assert seeds[0].params == seeds[1].params and seeds[1].value == pytest.approx(seeds[0].value + 1)
    with pytest.raises(UsageError, match="seeds was 2, now 1"):
        open_sweep(tmp_path / "sweep", declared(tmp_path, swept, **settings), "journal")


@pytest.mark.parametrize("swept, pruner", [(None, "asha"), (RATES, "median")])
def test_a_point_is_pruned_by_its_first_seed_and_its_others_are_left_out(
    tmp_path, monkeypatch, swept, pruner
):
    monkeypatch.setattr(
        "optuna.trial.Trial.should_prune", lambda trial: trial.params["optimizer.rate.peak"] < 0.05
    )
    settings = {} if swept else {"trials": 6}
    open_sweep(tmp_path / "sweep", declared(tmp_path, swept, seeds=3, pruner=pruner, **settings), "journal")
    until_it_ends(tmp_path / "sweep", killed_at_random(0.1))
    points = by_point(trials(tmp_path / "sweep"))
    pruned = [seeds for seeds in points.values() if seeds[0].params["optimizer.rate.peak"] < 0.05]
    assert pruned and len(pruned) < len(points)
    for seeds in pruned:
        assert all(trial.state == TrialState.PRUNED for trial in seeds.values())
        assert not any("attempts" in seeds[seed].user_attrs for seed in (1, 2)), "they are not begun"
    for seeds in points.values():
        if seeds not in pruned:
            assert all(trial.state == TrialState.COMPLETE for trial in seeds.values())
        assert not any(seeds[seed].intermediate_values for seed in (1, 2))


def test_seeds_that_fail_are_counted_and_the_sampler_learns_nothing_of_their_point(tmp_path):
    def interfere(experiment, step):
        if experiment.run.seed == 1 and experiment.optimizer.rate.peak > 0.2:
            raise ValueError("no luck")

    open_sweep(tmp_path / "sweep", declared(tmp_path, RATES, seeds=2), "journal")
    assert run(tmp_path / "sweep", training(interfere))
    status = sweep_status(tmp_path / "sweep")
    assert status.counts["failed"] == 1 and status.counts["finished"] == 5
    open_sweep(tmp_path / "tpe", declared(tmp_path, seeds=2, trials=4), "journal")
    assert run(tmp_path / "tpe", training(interfere))
    chosen, known = points_of(tmp_path / "tpe"), by_point(trials(tmp_path / "tpe"))
    for number in range(3):
        failed = any(trial.state == TrialState.FAIL for trial in known[number].values())
        assert (chosen[number].state == TrialState.FAIL) == failed


def test_one_point_with_many_failing_seeds_does_not_end_a_sweep_and_many_points_do(tmp_path):
    def fails(experiment, step):
        if step == 3 and (experiment.optimizer.rate.peak > 0.2 or tmp_path.joinpath("all").exists()):
            raise ValueError("no luck")

    open_sweep(tmp_path / "one", declared(tmp_path, seeds=5, trials=2, seed=6), "journal")
    assert run(tmp_path / "one", training(fails))
    tmp_path.joinpath("all").touch()
    open_sweep(tmp_path / "many", declared(tmp_path, seeds=2, trials=6), "journal")
    with pytest.raises(EnvironmentFault, match="5 trials in a row failed"):
        run(tmp_path / "many", training(fails))


def test_a_record_without_seeds_is_one_of_one_seed(tmp_path):
    sweep = declared(tmp_path, RATES)
    kept = sweep_to_json(sweep)
    del kept["seeds"]
    assert sweep_from_json(kept) == sweep and sweep.budget == 3
    assert declared(tmp_path, RATES, seeds=5).budget == 15


@pytest.mark.parametrize(
    "settings, message", [({"seeds": 0}, "more than 0"), ({"seeds": 2}, "sets run.seed too")]
)
def test_seeds_that_make_no_sense(tmp_path, settings, message):
    with pytest.raises(UsageError, match=message):
        declared(tmp_path, space.grid("run.seed", 0, 1), **settings)
