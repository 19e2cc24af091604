"""Trackers of a run beside metrics.jsonl: TensorBoard, and Weights & Biases if `run.wandb` is set."""

from pathlib import Path

from research.config import Experiment, Run
from research.runs.metrics_log import Tracker
from research.training.logging import weights_and_biases
from research.training.logging.tensorboard import TensorBoard
from research.training.logging.weights_and_biases import WeightsAndBiases


def check(run: Run) -> None:
    """Raises EnvironmentFault where a package is missing; called before data are prepared."""
    if run.wandb:
        weights_and_biases.package()


def open_trackers(experiment: Experiment, directory: Path, step: int) -> list[Tracker]:
    """The trackers of a run that starts, or continues, in `directory` after `step`."""
    opened: list[Tracker] = [TensorBoard(experiment, directory, step)]
    if experiment.run.wandb:
        opened.append(WeightsAndBiases(experiment, directory))
    return opened
