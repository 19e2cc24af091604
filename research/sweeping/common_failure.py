"""Finds a reason for which all trials of a sweep fail, whatever their values, such as a text too short."""

from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from research.config.space import Points, Space, axes
from research.runs.status import has_begun
from research.sweeping.directory import run_directory

ENOUGH = 3  # failed trials
BEFORE_A_STEP = "refused_before_a_step"  # attribute of such a trial


def common_failure(space: Space, directory: Path, trials: list[FrozenTrial]) -> str | None:
    """The reason why all trials so far failed before their first step; None if their values may explain it.

    They do not if the trials differ in every setting that varies, and the reason names none of these.
    """
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    reasons = {trial.user_attrs.get("reason") for trial in failed}
    if len(failed) < ENOUGH or len(reasons) > 1 or not all(BEFORE_A_STEP in one.user_attrs for one in failed):
        return None
    if any(_works(directory, trial) for trial in trials):
        return None
    reason = str(reasons.pop())
    varied = {axis.name for axis in axes(space) if not (isinstance(axis, Points) and len(axis.values) == 1)}
    values = [{str(trial.user_attrs["settings"].get(name)) for trial in failed} for name in varied]
    return None if any(name in reason for name in varied) or min(map(len, values), default=2) < 2 else reason


def _works(directory: Path, trial: FrozenTrial) -> bool:
    """Whether a trial made a step. One that was left out for its seed has no settings."""
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        return "settings" in trial.user_attrs
    return trial.state == TrialState.RUNNING and has_begun(run_directory(directory, trial.number))
