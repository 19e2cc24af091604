"""A sweep's report says what its study says."""

import math

import optuna
import pytest

from research.reporting.facts import facts
from research.reporting.importance import importance
from research.sweeping import record as sweeps
from research.sweeping.study.storage import load_study
from tests.reporting import made


@pytest.fixture
def study(swept):
    return load_study(sweeps.read(swept), swept)


def test_the_leader_is_the_study_s_best(swept, study):
    found = facts([swept])
    (leader,) = [run for run in found["runs"] if run["outcome"]["rank"] == 1]
    assert leader["name"] == f"{study.best_trial.number:04d}"
    assert leader["outcome"]["last"] == study.best_value


def test_every_trial_is_shown(swept, study):
    sweep = facts([swept])["sweep"]
    names = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
    assert [trial["state"] for trial in sweep["trials"]] == [
        names[trial.state.name] for trial in study.trials
    ]
    assert sum(sweep["counts"].values()) == sweep["budget"] == made.TRIALS
    (failed,) = [trial for trial in sweep["trials"] if trial["state"] == "failed"]
    assert failed["run"] is None and "no <b>such</b> luck" in failed["reason"]
    for trial, known in zip(sweep["trials"], study.trials, strict=True):
        if trial["run"] is not None:
            for parameter in sweep["parameters"]:
                assert parameter["values"][trial["run"]] == known.params[parameter["name"]]


def test_axes_follow_the_search(swept):
    logarithmic = {p["label"]: p["logarithmic"] for p in facts([swept])["sweep"]["parameters"]}
    assert logarithmic == {"peak": True, "width": False, "optimizer": False}


def test_few_trials_are_said_to_be_few(swept, study):
    finished = sum(trial.state.name == "COMPLETE" for trial in study.trials)
    assert finished < 8  # made.TRIALS, less those that are pruned
    sweep = facts([swept])["sweep"]
    assert sweep["importance"] == []
    assert sweep["why"] == f"Too few trials to tell: {finished} finished, 8 needed for 3 settings."


def searched(result, trials=20, optional=False) -> optuna.Study:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def trial(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        name = trial.suggest_categorical("name", ["adamw", "lion"])
        if optional and name == "lion":
            trial.suggest_float("lion's own", 0, 1)
        return result(rate, name)

    study.optimize(trial, n_trials=trials)
    return study


def test_what_matters_is_found():
    found = importance(searched(lambda rate, name: math.log10(rate) ** 2))
    assert [one["evaluator"] for one in found] == ["fANOVA", "PED-ANOVA"]
    for shares in (one["shares"] for one in found):
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["rate"] > 0.8 and next(iter(shares)) == "rate"


def test_fanova_is_left_out_where_settings_depend_on_one_another():
    found = importance(searched(lambda rate, name: math.log10(rate) ** 2, optional=True))
    assert [one["evaluator"] for one in found] == ["PED-ANOVA"]
    assert set(found[0]["shares"]) == {"rate", "name", "lion's own"}


def test_equal_results_tell_nothing():
    assert importance(searched(lambda rate, name: 1.0)) == "All finished trials have the same result."


def test_a_sweep_before_its_first_trial(tmp_path, swept):
    (tmp_path / "sweep.json").write_text((swept / "sweep.json").read_text())
    found = facts([tmp_path])
    assert found["runs"] == [] and found["sweep"]["counts"] == {"queued": made.TRIALS}
