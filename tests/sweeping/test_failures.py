"""What becomes of trials whose numbers break, and of those whose surroundings fail."""

import time
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from research.config import Sweep, space
from research.config.settings import override
from research.config.space import grid
from research.errors import EnvironmentFault, UsageError
from research.runs import record
from research.sweeping.claim import ATTEMPTS, attempts
from research.sweeping.declare import check_metric
from research.sweeping.directory import log_path
from research.sweeping.record import open_sweep
from research.sweeping.status import sweep_status
from research.sweeping.worker import FAILURES
from research.training.placement import DoesNotFit
from research.training.shared_program import NeedsConstants
from tests.sweeping.pretended import Killed, declared, run, steps, training, trials
from tests.training.tiny import quickstart

pytestmark = pytest.mark.usefixtures("nothing_to_free")


@pytest.mark.parametrize(
    "error, reason",
    [
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte"), "out of memory"),
        (UsageError("model.heads=3: expected a divisor"), "model.heads=3"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
    ],
)
def test_a_trial_that_fails_says_why_and_the_sweep_goes_on(tmp_path, error, reason):
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=4), None)

    def interfere(experiment, step):
        if step == 3 and not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            raise error

    assert run(tmp_path / "sweep", training(interfere))
    stands = sweep_status(tmp_path / "sweep")
    assert stands.counts == dict.fromkeys(stands.counts, 0) | {"finished": 3, "failed": 1}
    assert reason in stands.trials[0].reason and str(error) in "".join(stands.trials[0].log)


def test_a_loss_that_is_not_finite_fails_the_trial(tmp_path, monkeypatch):
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=2), None)
    monkeypatch.setattr(
        "tests.sweeping.pretended.loss", lambda experiment, step: float("nan") if step == 4 else 1.0
    )
    assert run(tmp_path / "sweep", training())
    assert [trial.reason for trial in sweep_status(tmp_path / "sweep").trials] == [
        "step 4: the validation's loss is nan"
    ] * 2


def test_an_unknown_metric_names_those_there_are(tmp_path):
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=1, metric="los", direction="minimize"), None)
    assert run(tmp_path / "sweep", training())
    assert "did you mean loss" in sweep_status(tmp_path / "sweep").trials[0].reason


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"metric": "los"}, "--metric los: not measured at an evaluation; did you mean loss"),
        ({"base": {"run.keep_best": "acuracy"}}, "run.keep_best=acuracy: not a number of a validation row"),
        ({"metric": "bits_per_byte"}, None),
    ],
)
def test_a_metric_is_known_before_the_first_trial(tmp_path, changes, message):
    base = override(quickstart(tmp_path / "corpus.txt"), changes.get("base", {}))
    sweep = Sweep(base=base, space=grid("run.seed", 0, 1), metric=changes.get("metric", "loss"))
    if message is None:
        check_metric(sweep)
        return
    with pytest.raises(UsageError, match=message):
        check_metric(sweep)


def test_a_fault_of_the_surroundings_leaves_the_trial_to_be_taken_up(tmp_path):
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=2), None)

    def interfere(experiment, step):
        if step == 5:
            raise EnvironmentFault("the disk is full")

    with pytest.raises(EnvironmentFault, match="disk is full"):
        run(tmp_path / "sweep", training(interfere))
    assert sweep_status(tmp_path / "sweep").counts["stopped"] == 1
    assert run(tmp_path / "sweep", training())
    assert sweep_status(tmp_path / "sweep").counts["finished"] == 2
    assert steps(tmp_path / "sweep", 0) == list(range(1, 10))


def test_a_sweep_of_which_everything_fails_stops_early(tmp_path):
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=50), None)

    def interfere(experiment, step):
        if step == 3:
            raise ValueError("no such thing")

    with pytest.raises(EnvironmentFault, match="5 trials in a row failed, the last: ValueError: no such"):
        run(tmp_path / "sweep", training(interfere))
    assert len(trials(tmp_path / "sweep")) == FAILURES


RATES = space.grid("optimizer.rate.peak", 0.01, 0.1, 1.0)
B2 = space.grid("optimizer.b2", 0.8, 0.9, 0.95)
SHORT = UsageError("data.source: too short")


@pytest.mark.parametrize(
    "swept, fails, fault, begun",
    [
        (space.product(B2, RATES), lambda b2, rate: True, SHORT, 4),  # two values of each
        (space.product(B2, RATES), lambda b2, rate: b2 == 0.8, SHORT, 9),
        (
            space.product(B2, RATES),
            lambda b2, rate: b2 < 0.9 or (b2, rate) == (0.9, 0.01),
            DoesNotFit("no"),
            9,
        ),
        (RATES, lambda b2, rate: True, UsageError("optimizer.rate.peak: expected less"), 3),  # the whole grid
    ],
)
def test_a_failure_that_no_value_explains_ends_the_sweep(tmp_path, swept, fails, fault, begun):
    open_sweep(tmp_path / "sweep", declared(tmp_path, swept), None)

    def interfere(experiment, step):
        if fails(experiment.optimizer.b2, experiment.optimizer.rate.peak):
            raise fault

    assert run(tmp_path / "sweep", training(interfere))
    now = sweep_status(tmp_path / "sweep")
    assert now.total - now.counts["queued"] == begun
    assert now.common_failure == (str(fault) if begun == 4 else None)


def test_a_trial_that_kills_its_workers_is_given_up(tmp_path):
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=1), None)

    def interfere(experiment, step):
        if step == 4:
            raise Killed

    while not run(tmp_path / "sweep", training(interfere)):
        pass
    (trial,) = trials(tmp_path / "sweep")
    assert (
        trial.state == TrialState.FAIL
        and "workers died while training it after step 2" in trial.user_attrs["reason"]
    )
    # The first began at step 0; from step 2 on, as many died as are allowed to.
    assert len(attempts(trial)) == 1 + ATTEMPTS + 1


def test_a_trial_whose_parts_need_constants_has_them(tmp_path):
    """Also when it goes on after its worker was killed: a trial is one run."""
    sweep = declared(tmp_path, space.grid("optimizer.rate.peak", 0.1, 0.01))
    base = override(sweep.base, {"run.hyperparameters": "inputs"})
    open_sweep(tmp_path / "sweep", replace(sweep, base=base), None)
    settings, inner = [], training()

    def choosy(experiment, directory, report, should_stop):
        settings.append(experiment.run.hyperparameters)
        if experiment.run.hyperparameters == "inputs":
            raise NeedsConstants("run.hyperparameters=inputs: expected constants")
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / record.FILE).exists():
            record.claim(directory, experiment, {})
            raise Killed
        return inner(experiment, directory, report, should_stop)

    while not run(tmp_path / "sweep", choosy):
        pass
    assert settings == ["inputs", "constants", "constants"] * 2
    assert [trial.state for trial in trials(tmp_path / "sweep")] == [TrialState.COMPLETE] * 2
    assert "so has this trial" in log_path(tmp_path / "sweep", 0).read_text()


def test_a_clock_that_is_set_uses_up_no_hours(tmp_path, monkeypatch):
    open_sweep(tmp_path / "sweep", declared(tmp_path, trials=2), None)
    hours, clock = iter((2, -4)), time.time
    shifts = {}

    def set_clock(experiment, step):
        shift = shifts.setdefault(experiment.optimizer.rate.peak, 3_600 * next(hours, 0))
        monkeypatch.setattr(time, "time", lambda: clock() + shift)

    assert run(tmp_path / "sweep", training(set_clock))
    ended = [attempts(trial)[0] for trial in trials(tmp_path / "sweep")]
    assert all(0 < attempt["ended"] - attempt["began"] < 60 for attempt in ended), ended
