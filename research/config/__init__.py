"""The vocabulary of experiments: typed, frozen declarations. Standard library only."""

from research.config.data import Data, Masking
from research.config.experiment import Experiment
from research.config.model import Model
from research.config.optimizer import Objective, Optimizer, Schedule
from research.config.run import Parallel, Run, Start

__all__ = [
    "Data",
    "Experiment",
    "Masking",
    "Model",
    "Objective",
    "Optimizer",
    "Parallel",
    "Run",
    "Schedule",
    "Start",
]
