"""Reports a trial's evaluations to its study, once each, and prunes the trial."""

import math
from collections.abc import Callable
from pathlib import Path

import optuna

from research.config import Run, Sweep
from research.errors import Diverged, UsageError, did_you_mean
from research.runs.metrics_log import Row, read
from research.runs.target import reached
from research.sweeping.study.seeds import is_left_out
from research.sweeping.study.suggest import seed_of


def pruning(sweep: Sweep, trial: optuna.Trial, run: Run, directory: Path) -> Callable[[Row], bool]:
    """A function that reports each evaluation to the study, once, and returns whether to prune the trial.

    It never prunes at the last evaluation (the last step, or the one that reaches `run.stop_at`). With
    several seeds only the first is reported and pruned, and the others follow: see
    research/sweeping/study/seeds.py.
    """
    known = trial.study.get_trials(deepcopy=False)[trial.number]
    reported, first = set(known.intermediate_values), seed_of(known) == 0
    evaluated = {row["step"]: row for row in read(directory) if row["split"] == "validation"}

    def should_stop(row: Row) -> bool:
        step, value = row["step"], value_of(sweep, row)
        evaluated[step] = row
        if step == 0:  # before training, all trials are alike
            return False
        if first and step not in reported:
            trial.report(value, step)
        if "pruned" in trial.user_attrs:  # the worker was killed between the decision and the save
            return step >= trial.user_attrs["pruned"]
        rows = [evaluated[earlier] for earlier in sorted(evaluated) if earlier <= step]
        ended = step == run.steps or reached(rows, run.target) is not None
        if ended or not (
            trial.should_prune() if first else is_left_out(known, trial.study.get_trials(deepcopy=False))
        ):
            return False
        trial.set_user_attr("pruned", step)
        return True

    return should_stop


def value_of(sweep: Sweep, row: Row) -> float:
    if sweep.metric not in row:
        known = [name for name, value in row.items() if isinstance(value, float)]
        raise UsageError(
            f"metric={sweep.metric}: not measured at an evaluation{did_you_mean(sweep.metric, known)}"
        )
    if not math.isfinite(row[sweep.metric]):
        raise Diverged(f"step {row['step']}: the validation's {sweep.metric} is {row[sweep.metric]}")
    return row[sweep.metric]
