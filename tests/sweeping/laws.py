"""What holds of every sweep that has ended, whatever was done to it on the way."""

import itertools
import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from research.sweeping.record import read
from research.sweeping.study.storage import load_study


def check(directory: Path, trials: int) -> list[optuna.trial.FrozenTrial]:
    """Exactly `trials` finished or pruned, none run twice, the same best as the storage's, devices apart."""
    record = read(directory)
    study = load_study(record, directory)
    known = study.get_trials()
    assert [trial.number for trial in known] == list(range(trials))
    assert {trial.state for trial in known} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert sorted(path.name for path in (directory / "trials").iterdir()) == [
        f"{n:04d}" for n in range(trials)
    ]
    ends = {}
    for trial in known:
        rows = [
            json.loads(line)
            for line in (directory / "trials" / f"{trial.number:04d}" / "metrics.jsonl")
            .read_text()
            .splitlines()
        ]
        steps = [row["step"] for row in rows if row["split"] == "train"]
        validated = {row["step"]: row["loss"] for row in rows if row["split"] == "validation"}
        last = record.sweep.base.run.steps if trial.state == TrialState.COMPLETE else trial.last_step
        assert steps == list(range(1, last + 1)), "a step is missing, or was logged twice"
        reported = {step: loss for step, loss in validated.items() if step}
        # Reported, and made again by lanes whose rounding may be another, where a worker died in between.
        rounding = 1e-6 if record.sweep.together > 1 else 0
        assert trial.intermediate_values == pytest.approx(reported, rel=rounding, abs=0)
        if trial.state == TrialState.COMPLETE:
            assert trial.value == validated[last]
            ends[trial.number] = trial.value
    assert study.best_trial.number == min(ends, key=ends.get)
    if record.sweep.together == 1:  # else they share a worker's device
        apart(known)
    return known


def apart(trials: list[optuna.trial.FrozenTrial]) -> None:
    """No device had two trials at once. Of an attempt that was killed only the beginning is known."""
    spans = [
        (attempt["began"], attempt["ended"] or attempt["began"], attempt["host"], set(attempt["devices"]))
        for trial in trials
        for attempt in trial.user_attrs["attempts"]
    ]
    for (began, ended, host, devices), (
        other_began,
        other_ended,
        other_host,
        others,
    ) in itertools.combinations(spans, 2):
        if host == other_host and devices & others:
            assert ended <= other_began or other_ended <= began, f"{devices & others} had two trials at once"
