"""Batches of a whole experiment, as `train` makes them of its sections."""

from collections.abc import Iterator

from research.config import Experiment
from research.data import batches
from research.data.examples import Batch, Examples, Report
from research.objectives import objective_of


def ignore(line: str) -> None:
    pass


def examples_of(experiment: Experiment) -> Examples:
    return objective_of(experiment.objective).examples(experiment)


def corpus_of(experiment: Experiment, report: Report = ignore):
    return examples_of(experiment).prepare(report)


def batch_shapes(experiment: Experiment):
    return objective_of(experiment.objective).batch_shapes(experiment)


def train_batches(experiment: Experiment, store, **process: int):
    data, seed = experiment.data, experiment.run.seed
    return batches.train_batches(examples_of(experiment), data, seed, store, **process)


def validation_batches(experiment: Experiment, store, **process: int):
    return batches.validation_batches(examples_of(experiment), experiment.data, store, **process)


def train_stream(experiment: Experiment, store, start: int, stop: int, **process: int) -> Iterator[Batch]:
    data, seed = experiment.data, experiment.run.seed
    return batches.train_stream(examples_of(experiment), data, seed, store, start, stop, **process)
