"""NorMuon (Li et al., 2025): Muon with orthogonal updates divided by a running norm per neuron."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

RMS = 0.2  # of an update, similar to Adam's (Liu et al., 2025)


class NeuronState(NamedTuple):
    """Mean squares (N, 1, …O) of each neuron's updates, of kernels (N, I, …O)."""

    nu: Any


def normalize_neurons(b2: float, epsilon: float) -> optax.GradientTransformation:
    """Algorithm 1 after the orthogonalization; scales every matrix to a root mean square of `RMS`."""

    def init(params) -> NeuronState:
        return NeuronState(jax.tree.map(lambda p: jnp.zeros_like(p[:, :1]), params))

    def update(updates, state: Any, params=None):
        nu = jax.tree.map(lambda u, v: b2 * v + (1 - b2) * (u**2).mean(1, keepdims=True), updates, state.nu)
        scaled = jax.tree.map(lambda u, v: u / (jnp.sqrt(v) + epsilon), updates, nu)
        return jax.tree.map(_to_rms, scaled), NeuronState(nu)

    return optax.GradientTransformation(init, update)


def _to_rms(update):
    squares = (update**2).mean(range(1, update.ndim), keepdims=True)
    return RMS * update / jnp.maximum(jnp.sqrt(squares), jnp.finfo(update.dtype).tiny)
