"""What a model computes, also on the way to its result: named arrays, read and edited.

Observed and edited models run operation by operation: compiling a program for each edit would take longer.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from research.api.inputs import Inputs, arguments
from research.errors import UsageError
from research.evaluation.scoring import score_windows, windows
from research.models import BERT, GPT
from research.models.sites import Edit, Edits, check, is_changed, matches, observed

BATCH = 8  # rows scored together
PROBABILITIES = "blocks/*/attention/probabilities*"  # also of a block that attends twice


def activations(module: GPT | BERT, inputs: Inputs, read: Sequence[str]) -> dict[str, np.ndarray]:
    """{name: array}, float32, of the sites whose names match, in the order of the forward pass.

    Raises UsageError for a name that no site has.
    """
    found = observed(module.features, read)(*arguments(module, inputs))[1]
    return {name: np.asarray(x, np.float32) for name, x in found.items()}


def attention_probabilities(module: GPT | BERT, inputs: Inputs) -> list[np.ndarray]:
    """N of (B, H, L, L), float32.

    They include the masks and score biases of the family and of the position scheme. Raises UsageError for a
    block of another package that does not call `attend` once.
    """
    names = [name for name in site_shapes(module) if matches(name, PROBABILITIES)]
    if len(names) != module.config.depth:
        raise UsageError(f"model.block={module.config.block}: its attention has no probabilities to record")
    return list(activations(module, inputs, names).values())


def site_shapes(module: GPT | BERT, length: int = 1) -> dict[str, tuple[int, ...]]:
    """The shape of each site for one row of `length` tokens, in the order of the forward pass."""
    shapes, plain = {}, replaced_edits(module, ())  # edits may expect another length

    def record(tokens_BL):
        found = observed(plain.features, ["**"])(tokens_BL)[1]
        shapes.update({name: x.shape for name, x in found.items()})

    jax.eval_shape(record, jax.ShapeDtypeStruct((1, length), jnp.int32))
    return shapes


def edited(module: GPT | BERT, edits: Mapping[str, Edit | ArrayLike]) -> GPT | BERT:
    """A copy of the module whose forward passes apply these edits, after its own.

    Raises UsageError for a name that no site has.
    """
    check(edits, site_shapes(module))
    return replaced_edits(
        module, module.edits + tuple((name, _as_function(edit)) for name, edit in edits.items())
    )


def replaced_edits(module: GPT | BERT, edits: Edits) -> GPT | BERT:
    """A copy of the module that has these edits instead of its own."""
    copy = jax.tree.map(lambda leaf: leaf, module)
    copy.edits = edits
    return copy


def _as_function(edit: Edit | ArrayLike) -> Edit:
    """An array becomes a function, since compiled programs are found by their edits' identity."""
    return cast(Edit, edit) if callable(edit) else partial(_first, edit)


def _first(array: ArrayLike, _: Array) -> ArrayLike:
    return array


def logits(module: GPT | BERT, inputs: Inputs) -> np.ndarray:
    """A GPT's for the next token, a BERT's for each token: (B, L, V)."""
    if is_changed(module):
        return np.asarray(_logits(module, inputs))
    return np.asarray(_compiled_logits(module, inputs.padded(module.config.context)))[:, : inputs.length]


def states(module: GPT | BERT, inputs: Inputs) -> list[np.ndarray]:
    """As `module.states`, in float32."""
    if is_changed(module):
        return jax.device_get(_states(module, inputs))
    states = jax.device_get(_compiled_states(module, inputs.padded(module.config.context)))
    return [x_BLD[:, : inputs.length] for x_BLD in states]


def loss(module: GPT, inputs: Inputs) -> float:
    """Nats per token, of all tokens but the first of each row.

    Rows longer than the context are read in overlapping windows, unless sites are edited or read. Raises
    UsageError if no row has two tokens.
    """
    rows, context = inputs.rows, module.config.context
    targets = sum(len(row) - 1 for row in rows)
    if not targets:
        raise UsageError("loss: expected a row of two tokens or more: the first is not predicted")
    if is_changed(module):
        return -sum(_log_probabilities(module, inputs.within(context))) / targets
    parts = [window for row in rows for window in windows(row, context, max(context // 2, 1))]
    scores = score_windows(module, parts, min(BATCH, len(parts)))
    return -sum(score.log_probability for score in scores) / targets


def _log_probabilities(module: GPT, inputs: Inputs) -> Iterator[float]:
    """Of each row, in one pass over all; logits of one row at a time."""
    x_BLD = module.features(jnp.asarray(inputs.tokens_BL))
    for n, row in enumerate(inputs.rows):
        log_LV = jax.nn.log_softmax(module.logits(x_BLD[n : n + 1])[0])
        yield float(np.asarray(log_LV)[np.arange(len(row) - 1), row[1:]].sum(dtype=np.float64))


def _logits(module: GPT | BERT, inputs: Inputs) -> Array:
    outputs = module(*arguments(module, inputs))
    return outputs[0] if isinstance(outputs, tuple) else outputs


def _states(module: GPT | BERT, inputs: Inputs) -> list[Array]:
    return [x_BLD.astype(jnp.float32) for x_BLD in module.states(*arguments(module, inputs))]


_compiled_logits, _compiled_states = jax.jit(_logits), jax.jit(_states)
