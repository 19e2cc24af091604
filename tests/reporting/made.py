"""Runs and sweeps as training leaves them, without the training: made-up numbers in real files."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import experiments
from research.config import Experiment, Sweep, space
from research.config.settings import override
from research.runs import record
from research.runs.metrics_log import Metrics, Row
from research.sweeping import record as sweeps
from research.sweeping.worker import work
from tests.sweeping.pretended import at_once

STEPS = 60
TRIALS = 12  # of which one fails and some are pruned


def experiment(**changes) -> Experiment:
    """`quickstart` for few steps, with names_joined__by = value."""
    cadence = {"run.steps": STEPS, "run.log_every": 2, "run.evaluate_every": 20}
    cadence |= {"optimizer.rate.warmup": 5, "optimizer.rate.peak": 3e-3}
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    return override(experiments.get("quickstart"), cadence | changes)


class Result(NamedTuple):
    finished: bool
    signal: int | None
    validation: Row | None


def train(
    experiment: Experiment,
    directory: Path,
    report: Callable[[str], None] = print,
    should_stop: Callable[[Row], bool] | None = None,
    text: str = "Once upon a time",
    until: int | None = None,
    shift: float = 0.0,
) -> Result:
    """A run whose loss falls towards a floor that its rate and width decide; 3e-3 and wide are best.

    `shift` moves the floor, as a seed does.
    """
    peak, width = experiment.optimizer.rate.peak, experiment.model.width
    floor = 3 + (math.log10(peak / 3e-3)) ** 2 + 16 / width + shift
    record.claim(directory, experiment, {"data": ["0" * 64, "1" * 64]})
    row = None
    with Metrics(directory, 0) as metrics:
        for step in range(until + 1 if until is not None else experiment.run.steps + 1):
            loss = floor + 5 * math.exp(-step / 15)
            if step and step % experiment.run.log_every == 0:
                metrics.write(
                    {
                        "step": step,
                        "split": "train",
                        "accuracy": 1 / loss,
                        "gradient_norm": 1 + math.sin(step) ** 2,
                        "loss": loss + 0.2 * math.sin(7 * step),
                        "skipped": 0.0,
                        "learning_rate": peak * (1 - step / STEPS / 2),
                        "tokens": step * 1024,
                        "seconds": round(step * width / 1000, 3),
                        "tokens_per_second": 50_000.0 - width * 100 + 500 * math.cos(step),
                    }
                )
            if step % experiment.run.evaluate_every == 0:
                row = {"step": step, "split": "validation", "loss": loss, "bits_per_byte": loss / 2}
                metrics.write(row | {"sample": f"{text}, {step}"})
                if should_stop and should_stop(row):
                    break
    return Result(True, None, row)


def sweep(directory: Path, trials: int = TRIALS, failing: bool = True) -> Path:
    """A sweep over rate, width and a choice, by TPE and the median; one trial fails."""
    declared = Sweep(
        name="made_up",
        base=experiment(),
        space=space.product(
            space.log_uniform("optimizer.rate.peak", 1e-4, 1e-1),
            space.choice("model.width", 16, 32, 64),
            space.choice("optimizer.name", "adamw", "lion"),
        ),
        trials=trials,
        sampler="tpe",
        pruner="median",
    )
    sweeps.open_sweep(directory, declared, "journal")  # quicker to make than a database

    def sometimes(experiment: Experiment, run: Path, *arguments, **named) -> Result:
        if failing and run.name == "0002":
            raise ValueError("no <b>such</b> luck")
        return train(experiment, run, *arguments, **named)

    work(directory, {}, lambda line: None, at_once(sometimes))
    return directory
