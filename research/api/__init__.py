"""Lineage in notebooks and scripts: declare an experiment, train it, read its metrics, look into the model.

    from research import evaluate, load, predict, read_metrics, resolve, train

    experiment = resolve("gpt2_tiny", {"run.steps": 100})
    train(experiment, "runs/tiny")
    metrics = read_metrics("runs/tiny")
    model = load("runs/tiny")
    evaluate("runs/tiny", "wikitext2", "FOLDER")["wikitext2"].metrics
    model.loss("The text to score."), model.generate("Once upon", tokens=20)
    predict("runs/sst2", ["A splendid film."])  # for a fine-tuned run

`research.api.own_loop` has the parts of `train` for a training loop of your own.

Errors are `research.errors.UsageError` and `EnvironmentFault`, each a message of one line.
"""

from research.api.evaluating import evaluate
from research.api.language_model import LanguageModel, load
from research.api.metrics import read_metrics
from research.api.own_loop import (
    batches,
    compile_evaluation,
    compile_step,
    first_state,
    language_model,
    loss_function,
)
from research.api.predicting import predict
from research.api.running import resolve, train
from research.models.sites import observed

__all__ = [
    "LanguageModel",
    "batches",
    "compile_evaluation",
    "compile_step",
    "evaluate",
    "first_state",
    "language_model",
    "load",
    "loss_function",
    "observed",
    "predict",
    "read_metrics",
    "resolve",
    "train",
]
