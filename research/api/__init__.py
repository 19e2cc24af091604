"""Lineage in notebooks and scripts: declare an experiment, train it, read its metrics, look into the model.

    from research import load, read_metrics, resolve, train

    experiment = resolve("gpt2_tiny", {"run.steps": 100})
    train(experiment, "runs/tiny")
    metrics = read_metrics("runs/tiny")
    model = load("runs/tiny")
    model.loss("The text to score."), model.generate("Once upon", tokens=20)
    predict("runs/sst2", ["A splendid film."])  # for a fine-tuned run

Errors are `research.errors.UsageError` and `EnvironmentFault`, each a message of one line.
"""

from research.api.language_model import LanguageModel, load
from research.api.metrics import read_metrics
from research.api.predicting import predict
from research.api.running import resolve, train

__all__ = ["LanguageModel", "load", "predict", "read_metrics", "resolve", "train"]
