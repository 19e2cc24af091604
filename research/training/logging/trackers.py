"""Trackers of a run beside metrics.jsonl: TensorBoard, and Weights & Biases if `run.wandb` is set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from research.config import Run
from research.runs.metrics_log import Tracker
from research.training.logging import weights_and_biases
from research.training.logging.tensorboard import TensorBoard
from research.training.logging.weights_and_biases import WeightsAndBiases


def check(run: Run) -> None:
    """Raises EnvironmentFault if a package is missing. Call it before preparing data."""
    if run.wandb:
        weights_and_biases.package()


def open_trackers(run: Run, settings: Mapping[str, Any], directory: Path, step: int) -> list[Tracker]:
    """Opens the trackers of a run that starts or continues after `step`.

    `settings` are all settings of the run, flat: {"model.width": 768, …}.
    """
    opened: list[Tracker] = [TensorBoard(settings, directory, step, run.steps)]
    if run.wandb:
        opened.append(WeightsAndBiases(settings, directory))
    return opened
