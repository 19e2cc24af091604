"""The objective over a whole split, and a sample of what the model writes."""

import math
from collections.abc import Callable, Iterable

import jax
import numpy as np
from jax import Array
from tokenizers import Tokenizer

from research.data.store import Store
from research.data.tokenizer import end_of_text
from research.generation import sample
from research.objectives import Sums


def evaluate(model, batches: Iterable, evaluate_batch: Callable[..., Sums], store: Store) -> dict[str, float]:
    """Means over all targets: loss in nats, accuracy; and the loss in bits per byte of the split's text."""
    sums = jax.device_get([evaluate_batch(model, batch) for batch in batches])
    totals = {name: float(np.sum([batch[name] for batch in sums], dtype=np.float64)) for name in sums[0]}
    targets = totals.pop("targets")
    means = {name: total / targets for name, total in totals.items()}
    return means | {"bits_per_byte": means["loss"] * targets / store.bytes / math.log(2)}


def sample_text(model, tokenizer: Tokenizer, tokens: int, key: Array) -> str:
    """What `model` writes from the start of a document; same key, same text."""
    end = end_of_text(tokenizer)
    start = [end] if end is not None else tokenizer.encode("\n").ids
    ids = [int(next_B[0]) for next_B in sample(model, np.asarray([start], np.int32), tokens, key)]
    return tokenizer.decode(ids, skip_special_tokens=False)
