"""What a model computes, also on the way to its result: named arrays, read and edited.

Observed and edited models run operation by operation: compiling a program for each edit would take longer.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from research.api.inputs import Inputs, arguments
from research.errors import UsageError
from research.models import BERT, GPT
from research.models.sites import Edit, check, observed

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
    names = fnmatch.filter(site_shapes(module), PROBABILITIES)
    if len(names) != module.config.depth:
        raise UsageError(f"model.block={module.config.block}: its attention has no probabilities to record")
    return list(activations(module, inputs, names).values())


def site_shapes(module: GPT | BERT, length: int = 1) -> dict[str, tuple[int, ...]]:
    """The shape of each site for one row of `length` tokens, in the order of the forward pass."""
    shapes = {}

    def record(tokens_BL):
        found = observed(module.features, ["*"])(tokens_BL)[1]
        shapes.update({name: x.shape for name, x in found.items()})

    jax.eval_shape(record, jax.ShapeDtypeStruct((1, length), jnp.int32))
    return shapes


def edited(module: GPT | BERT, edits: Mapping[str, Edit | ArrayLike]) -> GPT | BERT:
    """A copy of the module whose forward passes apply these edits, after its own.

    Raises UsageError for a name that no site has.
    """
    check(edits, site_shapes(module))
    copy = jax.tree.map(lambda leaf: leaf, module)
    copy.edits = module.edits + tuple((name, _as_function(edit)) for name, edit in edits.items())
    return copy


def _as_function(edit: Edit | ArrayLike) -> Edit:
    return cast(Edit, edit) if callable(edit) else lambda x: jnp.asarray(edit)


def logits(module: GPT | BERT, inputs: Inputs) -> Array:
    """A GPT's for the next token, a BERT's for each token: (B, L, V)."""
    return (_logits if module.edits else _compiled_logits)(module, inputs)


def states(module: GPT | BERT, inputs: Inputs) -> list[Array]:
    """As `module.states`, in float32."""
    return (_states if module.edits else _compiled_states)(module, inputs)


def _logits(module: GPT | BERT, inputs: Inputs) -> Array:
    outputs = module(*arguments(module, inputs))
    return outputs[0] if isinstance(outputs, tuple) else outputs


def _states(module: GPT | BERT, inputs: Inputs) -> list[Array]:
    return [x_BLD.astype(jnp.float32) for x_BLD in module.states(*arguments(module, inputs))]


_compiled_logits, _compiled_states = jax.jit(_logits), jax.jit(_states)
