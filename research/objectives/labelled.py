"""What is minimised when a model answers: (model, batch, key) → weighted sums, and the answers' numbers.

A row of a batch is an example: S sequences for one answer. As for `next_token`, all is a plain sum.
Shapes: B rows, S sequences a row, T = B × S, L length, D width, K answers.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array

from research.models.ops.primitives import dropout_mask
from research.objectives.vocabulary_loss import vocabulary_loss

Batch = dict[str, Array]
Sums = dict[str, Array]
Judge = Callable[[Array, Batch], tuple[Array, Sums]]  # (outputs, batch) → (loss, other sums)


def answer(model, batch: Batch, key: Array | None, kind: str, auxiliary: float) -> tuple[Sums, Array]:
    """The sums of an objective that is called `kind`, and what the head gave (B, …, K), float32.

    A GPT's loss is L3 = L2 + λ·L1 of the paper (Radford et al., 2018, section 3.2); λ is `auxiliary`.
    """
    key_states, key_head = (None, None) if key is None else jax.random.split(key)
    x_TLD, lengths_T = _states(model, batch, key_states)
    judge = JUDGES[kind]
    if kind in ("spans", "tags"):
        # Google's run_squad reads the states as they are; taggers drop some of them, as classifiers do.
        rate = model.config.dropout if kind == "tags" else 0.0
        x = x_TLD
        mask = dropout_mask(x.shape, rate, key_head, x.dtype)
    else:
        x = model.summary(x_TLD, lengths_T).reshape(*batch["lengths"].shape, -1)
        if kind != "choice":
            x = x.sum(1)  # over both orders of a pair, or the one there is
        # The choices of a row lose the same features.
        shape = (len(x), *(1,) * (x.ndim - 2), x.shape[-1])
        mask = dropout_mask(shape, model.config.dropout, key_head, x.dtype)
    outputs = model.task_head(x if mask is None else x * mask).astype(jnp.float32)
    loss, sums = judge(outputs, batch)
    if not auxiliary:
        return {"loss": loss} | sums, outputs
    lm_loss = _next_token(model, x_TLD, batch)
    return {"loss": loss + auxiliary * lm_loss, "task_loss": loss, "auxiliary_loss": lm_loss} | sums, outputs


def _states(model, batch: Batch, key: Array | None) -> tuple[Array, Array]:
    """The final states (B·S, L, D) of all sequences, and their lengths."""
    flat = {
        name: batch[name].reshape(-1, *batch[name].shape[2:])
        for name in ("tokens", "segments", "lengths")
        if name in batch
    }
    if "segments" in flat:
        return model.features(flat["tokens"], flat["segments"], flat["lengths"], key), flat["lengths"]
    return model.features(flat["tokens"], key), flat["lengths"]


def _next_token(model, x_TLD: Array, batch: Batch) -> Array:
    """L1: of each token given those before it; weights make a mean of each sequence's mean, as published."""
    L = x_TLD.shape[1]
    targets_TL = jnp.roll(batch["tokens"].reshape(-1, L), -1, axis=1)  # the last has no weight
    weights_TL = batch["auxiliary_weights"].reshape(-1, L)
    return vocabulary_loss(x_TLD, model.table(), None, targets_TL, weights_TL)[0]


def _classification(outputs_BK: Array, batch: Batch) -> tuple[Array, Sums]:
    """Cross-entropy (nats) of labels (B,)."""
    labels_B, weights_B = batch["labels"], batch["label_weights"]
    losses_B = optax.softmax_cross_entropy_with_integer_labels(outputs_BK, labels_B)
    hits_B = (outputs_BK.argmax(-1) == labels_B).astype(jnp.float32)
    return (losses_B * weights_B).sum(), {"accuracy": (hits_B * weights_B).sum()}


def _regression(outputs_B1: Array, batch: Batch) -> tuple[Array, Sums]:
    """Squared error of scores (B,)."""
    return (jnp.square(outputs_B1[:, 0] - batch["labels"]) * batch["label_weights"]).sum(), {}


def _choice(outputs_BS1: Array, batch: Batch) -> tuple[Array, Sums]:
    """Classification of which sequence it is."""
    return _classification(outputs_BS1[..., 0], batch)


def _spans(outputs_BL2: Array, batch: Batch) -> tuple[Array, Sums]:
    """Half of the cross-entropies of where the answer starts and ends, over all positions, as run_squad's.

    labels (B, 2); position 0 for an answer that is not in the window.
    """
    logits_B2L, weights_B = outputs_BL2.swapaxes(1, 2), batch["label_weights"]
    losses_B2 = optax.softmax_cross_entropy_with_integer_labels(logits_B2L, batch["labels"])
    hits_B = (logits_B2L.argmax(-1) == batch["labels"]).all(-1).astype(jnp.float32)
    return (losses_B2.mean(-1) * weights_B).sum(), {"accuracy": (hits_B * weights_B).sum()}


def _tags(outputs_BLK: Array, batch: Batch) -> tuple[Array, Sums]:
    """Classification of every word, at its first piece: labels and label_weights (B, L)."""
    return _classification(outputs_BLK, batch)


JUDGES: dict[str, Judge] = {
    "classification": _classification,
    "regression": _regression,
    "choice": _choice,
    "spans": _spans,
    "tags": _tags,
}
