"""Who follows a run besides metrics.jsonl, as its declaration says."""

from pathlib import Path

from research.config import Experiment
from research.runs.metrics_log import Tracker
from research.training.logging import weights_and_biases
from research.training.logging.tensorboard import TensorBoard
from research.training.logging.weights_and_biases import WeightsAndBiases


def check(experiment: Experiment) -> None:
    """Raises EnvironmentFault where a package is missing: better before the data than after."""
    if experiment.run.wandb:
        weights_and_biases.package()


def follow(experiment: Experiment, directory: Path, step: int) -> list[Tracker]:
    """Those of a run that starts, or goes on, in `directory` after `step`."""
    following: list[Tracker] = [TensorBoard(experiment, directory, step)]
    if experiment.run.wandb:
        following.append(WeightsAndBiases(experiment, directory))
    return following
