"""Importance of a sweep's settings, by Optuna's evaluators."""

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.importance import BaseImportanceEvaluator, FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import TrialState

LEAST = 6  # finished trials, and at least 2 + two per setting; with fewer, importance is chance

Shares = dict[str, float]  # {"optimizer.rate.peak": 0.8, …}; they sum to 1


def importance(study: optuna.Study) -> list[dict[str, Any]] | str:
    """[{"evaluator", "shares"}, …] with settings in falling order, or the reason why there is none.

    fANOVA (Hutter et al., 2014) explains the variance of results over the whole space; PED-ANOVA (Watanabe et
    al., 2023) explains the difference between the better trials and all trials. fANOVA is skipped if some
    settings exist only for some values of others.
    """
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    names = dict.fromkeys(name for trial in finished for name, _ in varied(trial))
    needed = max(LEAST, 2 * len(names) + 2)
    if len(finished) < needed:
        return f"Too few trials to tell: {len(finished)} finished, {needed} needed for {len(names)} settings."
    if len({trial.value for trial in finished}) == 1:
        return "All finished trials have the same result."
    everywhere = all(set(names) <= trial.params.keys() for trial in finished)
    evaluators: dict[str, BaseImportanceEvaluator] = {}
    if everywhere:
        evaluators["fANOVA"] = FanovaImportanceEvaluator(seed=0)
    evaluators["PED-ANOVA"] = PedAnovaImportanceEvaluator()
    found = {name: _shares(study, evaluator) for name, evaluator in evaluators.items()}
    return [{"evaluator": name, "shares": shares} for name, shares in found.items() if shares]


def varied(trial: optuna.trial.FrozenTrial) -> list[tuple[str, Any]]:
    """A trial's parameters that have more than one possible value."""
    return [(name, value) for name, value in trial.params.items() if not trial.distributions[name].single()]


def logarithmic(study: optuna.Study) -> Mapping[str, bool]:
    """{"optimizer.rate.peak": True, …}: whether each parameter is searched on a logarithmic scale."""
    return {
        name.split("[")[0]: getattr(distribution, "log", False)
        for trial in study.get_trials(deepcopy=False)
        for name, distribution in trial.distributions.items()
    }


def _shares(study: optuna.Study, evaluator: BaseImportanceEvaluator) -> Shares:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    # Optuna's order of equal shares differs between processes.
    return {name: float(share) for name, share in sorted(shares.items(), key=lambda one: (-one[1], one[0]))}
