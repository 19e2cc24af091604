"""NorMuon (Li et al., 2025): Muon with orthogonal updates divided by a running norm per neuron."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.tree_util import tree_map_with_path

from research.optimizers.masks import matrix_axis

RMS = 0.2  # of an update, similar to Adam's (Liu et al., 2025)


class NeuronState(NamedTuple):
    """Mean squares (N, 1, …O) of each neuron's updates, of kernels (N, I, …O); of experts (N, E, 1, …O)."""

    nu: Any


def normalize_neurons(b2: float, epsilon: float) -> optax.GradientTransformation:
    """Algorithm 1 after the orthogonalization; scales every matrix to a root mean square of `RMS`."""

    def init(params) -> NeuronState:
        def zeros(path, p):
            return jnp.zeros_like(lax.slice_in_dim(p, 0, 1, axis=matrix_axis(path)))

        return NeuronState(tree_map_with_path(zeros, params))

    def update(updates, state: Any, params=None):
        def mean_squares(path, u, v):
            return b2 * v + (1 - b2) * (u**2).mean(matrix_axis(path), keepdims=True)

        nu = tree_map_with_path(mean_squares, updates, state.nu)
        scaled = jax.tree.map(lambda u, v: u / (jnp.sqrt(v) + epsilon), updates, nu)
        return tree_map_with_path(_to_rms, scaled), NeuronState(nu)

    return optax.GradientTransformation(init, update)


def _to_rms(path, update):
    squares = (update**2).mean(range(matrix_axis(path), update.ndim), keepdims=True)
    return RMS * update / jnp.maximum(jnp.sqrt(squares), jnp.finfo(update.dtype).tiny)
