"""Evaluation of the objective over a whole split, predictions on disk, and sampled text."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array
from tokenizers import Tokenizer

from research.data.examples import Batch
from research.data.tokenizers.tokenizer import document_start
from research.generation import sample
from research.io.files import write_atomic
from research.objectives import weights_in
from research.objectives.objective import Sums

PREDICTIONS = "predictions.json"


def totals(batches: Iterable[Batch]) -> dict[str, float]:
    """Sums a split's weights by name. Dividing a split's sums by them gives means."""
    sums: dict[str, float] = {}
    for batch in batches:
        for name in weights_in(batch):
            sums[name] = sums.get(name, 0.0) + float(np.sum(batch[name], dtype=np.float64))
    return sums


def shared(batches: Iterable[Batch], totals: Mapping[str, float]) -> Iterator[Batch]:
    """Yields batches with weights divided by the split's totals, so that sums over all batches are means."""
    for batch in batches:
        yield batch | {name: batch[name] / np.float32(total) for name, total in totals.items()}


def evaluate(
    model, batches: Iterable[Any], evaluate_batch: Callable[..., Sums]
) -> tuple[dict[str, float], np.ndarray | None]:
    """Evaluates the objective on `shared` batches; returns its means, and a task head's outputs if any."""
    found = jax.device_get([evaluate_batch(model, batch) for batch in batches])
    outputs = [batch.pop("outputs") for batch in found if "outputs" in batch]
    means = {name: float(np.sum([batch[name] for batch in found], dtype=np.float64)) for name in found[0]}
    return means, np.concatenate(outputs) if outputs else None


def bits_per_byte(loss: float, targets: float, bytes: int) -> float:
    """Converts a loss in nats per token to bits per byte of text."""
    return loss * targets / bytes / math.log(2)


def sample_text(model, tokenizer: Tokenizer, tokens: int, key: Array) -> str:
    """Samples text from the start of a document; the same key gives the same text."""
    ids = [int(next_B[0]) for next_B in sample(model, [document_start(tokenizer)], tokens, key)]
    return tokenizer.decode(ids, skip_special_tokens=False)


def write_predictions(directory: Path, predictions: Any, outputs: np.ndarray) -> None:
    """Writes the predictions of an evaluation, in the order of the split or by question."""
    write_atomic(directory / PREDICTIONS, json.dumps(predictions, ensure_ascii=False) + "\n")
