"""The objective over a whole split, and a sample of what the model writes."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import jax
import numpy as np
from jax import Array
from tokenizers import Tokenizer

from research.data.tokenizers.tokenizer import end_of_text
from research.generation import sample
from research.objectives.pretraining import Batch, Sums, weights_in


def totals(batches: Iterable[Batch]) -> dict[str, float]:
    """The sums of a split's weights, by name: what its sums are divided by."""
    sums: dict[str, float] = {}
    for batch in batches:
        for name in weights_in(batch):
            sums[name] = sums.get(name, 0.0) + float(np.sum(batch[name], dtype=np.float64))
    return sums


def shared(batches: Iterable[Batch], totals: Mapping[str, float]) -> Iterator[Batch]:
    """Batches whose weights are shares of the whole split, so that sums over them are means."""
    for batch in batches:
        yield batch | {name: batch[name] / np.float32(total) for name, total in totals.items()}


def evaluate(
    model, batches: Iterable[Batch], evaluate_batch: Callable[..., Sums]
) -> tuple[dict[str, float], np.ndarray | None]:
    """The objective over all of the `shared` batches: loss in nats, accuracies; of a task its outputs too."""
    found = jax.device_get([evaluate_batch(model, batch) for batch in batches])
    outputs = [batch.pop("outputs") for batch in found if "outputs" in batch]
    means = {name: float(np.sum([batch[name] for batch in found], dtype=np.float64)) for name in found[0]}
    return means, np.concatenate(outputs) if outputs else None


def bits_per_byte(loss: float, targets: float, bytes: int) -> float:
    """The loss of `targets` tokens, spread over the bytes of their text."""
    return loss * targets / bytes / math.log(2)


def sample_text(model, tokenizer: Tokenizer, tokens: int, key: Array) -> str:
    """What `model` writes from the start of a document; same key, same text."""
    end = end_of_text(tokenizer)
    start = [end] if end is not None else tokenizer.encode("\n").ids
    ids = [int(next_B[0]) for next_B in sample(model, [start], tokens, key)]
    return tokenizer.decode(ids, skip_special_tokens=False)
