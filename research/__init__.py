"""Lineage: GPT-1, GPT-2 and BERT in JAX, for research.

    from research import evaluate, load, predict, read_metrics, resolve, train

`research.api` documents these; they are imported when they are first used, since they import JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from research.api import (
        LanguageModel,
        batches,
        compile_evaluation,
        compile_step,
        evaluate,
        first_state,
        language_model,
        load,
        loss_function,
        observed,
        predict,
        read_metrics,
        resolve,
        train,
    )

__version__ = "0.1.0"
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


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("research.api"), name)
    raise AttributeError(f"module 'research' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
