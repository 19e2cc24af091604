"""The vocabulary of experiments: typed, frozen declarations. Standard library only."""

from research.config import space
from research.config.experiment import Experiment
from research.config.sections.data import Data, Later, Masking, Task
from research.config.sections.model import Model, Parts
from research.config.sections.optimizer import Objective, Optimizer, Schedule
from research.config.sections.run import Parallel, Run, Start
from research.config.sweep import Sweep

__all__ = [
    "Data",
    "Experiment",
    "Later",
    "Masking",
    "Model",
    "Objective",
    "Optimizer",
    "Parallel",
    "Parts",
    "Run",
    "Schedule",
    "Start",
    "Sweep",
    "Task",
    "space",
]
